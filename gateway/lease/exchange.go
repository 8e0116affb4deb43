package lease

import (
	"errors"
	"slices"
	"time"

	"openshell-vm/internal/vocab"
	"openshell-vm/tokens"
)

// MaxExchanged bounds the lifetime of a token that was asked for: nobody renews it, and who
// needs another one asks again.
const MaxExchanged = 15 * time.Minute

// ErrAudience means that a sandbox may have no token for an audience.
var ErrAudience = errors.New("no token for this audience was allowed")

// Exchange mints a token for an audience that the lease with this id was allowed. It is in no
// share, carries the number of the current generation, has an id of its own and lives for MaxExchanged at most.
func (k *Keeper) Exchange(id, audience string) (tokens.Raw, tokens.Claims, error) {
	l := k.byID(id)
	if l == nil {
		return "", tokens.Claims{}, tokens.ErrNoSandbox
	}
	asked, ttl := l.holder.Tokens(), l.holder.TTL()
	at := slices.IndexFunc(asked.Files, func(f vocab.TokenFile) bool { return f.Audience == audience })
	algorithm := tokens.Algorithm("")
	switch {
	case at >= 0:
		ttl, algorithm = lifetime(asked.Files[at], ttl), tokens.Algorithm(asked.Files[at].Algorithm)
	case !slices.Contains(asked.Audiences, audience):
		return "", tokens.Claims{}, ErrAudience
	}
	now := time.Now()
	held, _ := l.Renewal() // with its generation the token is revoked together with those of the share
	issuer, _ := k.issuer(now)
	return issuer.Mint(tokens.Request{
		SandboxID: id, Generation: held.Generation, TTL: min(ttl, MaxExchanged), Now: now, Audience: audience, Algorithm: algorithm,
		Identity: asked.Identity, About: l.holder.About(), Claims: asked.Claims,
	})
}
