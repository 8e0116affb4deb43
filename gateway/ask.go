package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/oauth"
	"openshell-vm/tokens"
)

// askLeeway is the clock difference that is allowed to who sends a token: a guest's clock may be
// a little off.
const askLeeway = tokens.DefaultLeeway

// asked is what sandboxes can ask of the gateway, each on its own socket.
func (g *Gateway) asked() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/", oauth.Handler(oauth.Options{
		Verify: func(raw string, now time.Time) (tokens.Claims, error) {
			return g.keeper.Verifier(askLeeway).Verify(raw, now)
		},
		Introspect: func(raw string, now time.Time) (tokens.Claims, error) {
			verifier := g.keeper.Verifier(askLeeway)
			verifier.AnyAudience = true
			return verifier.Verify(raw, now)
		},
		Mint:  g.exchange,
		Audit: g.roster.Audit,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

// exchange mints a token for who asked.
func (g *Gateway) exchange(_ context.Context, sandbox, audience string) (oauth.Token, error) {
	raw, claims, err := g.keeper.Exchange(sandbox, audience)
	if errors.Is(err, lease.ErrAudience) {
		err = oauth.ErrTarget
	}
	return oauth.Token{Raw: raw, Claims: claims, Expires: claims.ExpiresAt}, err
}
