package listener

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"openshell-vm/internal/discovery"
)

// HealthPath answers with 200 while the listener serves.
const HealthPath = "/healthz"

// answer is the handler of all requests.
func (l *Listener) answer(w http.ResponseWriter, r *http.Request) {
	if !l.requests.Allow() {
		w.Header().Set("Retry-After", "1")
		w.Header().Set("Connection", "close") // the next refusal costs a connection, and those are paced
		http.Error(w, "too many requests", http.StatusTooManyRequests)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch path := l.below(r.URL.Path); {
	case path == discovery.ConfigurationPath || path == discovery.KeysPath || path == HealthPath:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
			return
		}
		l.document(w, path)
	case l.opts.Handler != nil:
		l.opts.Handler.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// below takes the issuer's own path away. A proxy in front of the gateway may have done it.
func (l *Listener) below(path string) string {
	issuer, err := url.Parse(l.opts.Issuer())
	if err != nil {
		return path
	}
	if rest, ok := strings.CutPrefix(path, issuer.Path); ok && strings.HasPrefix(rest, "/") {
		return rest
	}
	return path
}

func (l *Listener) document(w http.ResponseWriter, path string) {
	if path == HealthPath {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write([]byte("ok\n")) // an error means that the client has gone
		return
	}
	documents, err := l.opts.Documents(time.Now())
	body, kind := documents.Keys, discovery.KeysType
	if path == discovery.ConfigurationPath {
		body, kind = documents.Configuration, discovery.ConfigurationType
	}
	switch {
	case err != nil:
		l.opts.Log.Warn("the issuer's documents can't be made", "error", err)
		http.Error(w, "the documents can't be made", http.StatusInternalServerError)
	case body == nil:
		http.Error(w, "no issuer is configured here", http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", documents.CacheControl())
		_, _ = w.Write(body) // an error means that the client has gone
	}
}
