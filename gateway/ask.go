package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/oauth"
	"openshell-vm/internal/discovery"
	"openshell-vm/tokens"
)

// askLeeway is the clock difference that is allowed to who sends a token: a guest's clock may be
// a little off.
const askLeeway = tokens.DefaultLeeway

// asked is what sandboxes can ask of the gateway, each on its own socket.
func (g *Gateway) asked() http.Handler {
	mux := http.NewServeMux()
	options := g.judges()
	options.Mint = g.exchange
	mux.Handle("/v1/", oauth.Handler(options))
	configuration := func(d discovery.Documents) []byte { return d.Configuration }
	mux.HandleFunc("GET "+discovery.ConfigurationPath, g.document(discovery.ConfigurationType, configuration))
	mux.HandleFunc("GET "+discovery.KeysPath, g.document(discovery.KeysType, func(d discovery.Documents) []byte { return d.Keys }))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

// askedFromAfar is what others can ask who can reach the gateway's listener, and send a token. They
// get none for it: who has read a sandbox's file has only what is in it.
func (g *Gateway) askedFromAfar() http.Handler {
	answers, caller := oauth.Handler(g.judges()), oauth.Caller{Way: "listener"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers.ServeHTTP(w, r.WithContext(oauth.WithCaller(r.Context(), caller)))
	})
}

// judges says which tokens are good.
func (g *Gateway) judges() oauth.Options {
	return oauth.Options{
		Verify: func(raw string, now time.Time) (tokens.Claims, error) {
			return g.keeper.Verifier(askLeeway).Verify(raw, now)
		},
		Introspect: func(raw string, now time.Time) (tokens.Claims, error) {
			verifier := g.keeper.Verifier(askLeeway)
			verifier.AnyAudience = true
			return verifier.Verify(raw, now)
		},
		Audit: g.roster.Audit,
	}
}

// document serves what verifiers fetch to a sandbox that verifies tokens of others.
func (g *Gateway) document(kind string, of func(discovery.Documents) []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		documents, err := g.issuer.Documents(time.Now())
		body := of(documents)
		switch {
		case err != nil:
			http.Error(w, "not now", http.StatusInternalServerError)
		case body == nil:
			http.Error(w, "the gateway's issuer has no URL", http.StatusNotFound)
		default:
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Cache-Control", documents.CacheControl())
			_, _ = w.Write(body) // an error means that the client has gone
		}
	}
}

// exchange mints a token for who asked.
func (g *Gateway) exchange(_ context.Context, sandbox, audience string) (oauth.Token, error) {
	raw, claims, err := g.keeper.Exchange(sandbox, audience)
	if errors.Is(err, lease.ErrAudience) {
		err = oauth.ErrTarget
	}
	return oauth.Token{Raw: raw, Claims: claims, Expires: claims.ExpiresAt}, err
}
