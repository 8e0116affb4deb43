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
	"openshell-vm/internal/vocab"
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
	options.Foreign = func(sandbox string) bool {
		it := g.roster.ByID(sandbox)
		return it != nil && it.Tokens().Mode == vocab.StaticToken
	}
	mux.Handle("/v1/", oauth.Handler(options))
	g.documents().Register(mux)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

// askedFromAfar is what others can ask who can reach the gateway's listener, and send a token. Who
// has read a sandbox's file gets nothing more for it. Pods of the clusters that are configured get a
// token for theirs.
func (g *Gateway) askedFromAfar() http.Handler {
	options := g.judges()
	options.Exchange = g.clusters.Exchange
	answers, caller := oauth.Handler(options), oauth.Caller{Way: "listener"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/token" && !g.clusters.Any() {
			http.NotFound(w, r)
			return
		}
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

// documents serves what verifiers fetch: at the listener, at each sandbox's socket and at the
// API's.
func (g *Gateway) documents() discovery.Handler {
	return discovery.Handler{Documents: g.issuer.Documents, Log: g.log}
}

// exchange mints a token for who asked.
func (g *Gateway) exchange(_ context.Context, sandbox, audience string) (oauth.Token, error) {
	raw, claims, err := g.keeper.Exchange(sandbox, audience)
	if errors.Is(err, lease.ErrAudience) {
		err = oauth.ErrTarget
	}
	return oauth.Token{Raw: raw, Claims: claims, Expires: claims.ExpiresAt}, err
}
