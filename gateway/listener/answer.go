package listener

import (
	"net/http"
	"net/url"
	"strings"

	"openshell-vm/internal/discovery"
)

// HealthPath answers with 200 while the listener serves.
const HealthPath = "/healthz"

// answer is the handler of all requests.
func (l *Listener) answer(w http.ResponseWriter, r *http.Request) {
	if !l.clients.mayAsk(r.RemoteAddr) || !l.requests.Allow() {
		w.Header().Set("Retry-After", "1")
		w.Header().Set("Connection", "close") // the next refusal costs a connection, and those are paced
		http.Error(w, "too many requests", http.StatusTooManyRequests)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch r := l.below(r); r.URL.Path {
	case discovery.ConfigurationPath, discovery.KeysPath:
		l.opts.Documents.ServeHTTP(w, r)
	case HealthPath:
		health(w, r)
	default:
		if l.opts.Handler == nil {
			http.NotFound(w, r)
			return
		}
		l.opts.Handler.ServeHTTP(w, r)
	}
}

// below takes the issuer's own path away. A proxy in front of the gateway may have done it.
func (l *Listener) below(r *http.Request) *http.Request {
	issuer, err := url.Parse(l.opts.Issuer())
	if err != nil {
		return r
	}
	rest, ok := strings.CutPrefix(r.URL.Path, issuer.Path)
	if !ok || issuer.Path == "" || !strings.HasPrefix(rest, "/") {
		return r
	}
	below := r.WithContext(r.Context())
	below.URL = &url.URL{Path: rest, RawQuery: r.URL.RawQuery}
	return below
}

func health(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte("ok\n")) // an error means that the client has gone
}
