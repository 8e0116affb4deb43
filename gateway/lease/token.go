package lease

import (
	"encoding/json"
	"errors"
	"time"

	"openshell-vm/internal/contract"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// Token is the source of the token and its metadata, for one publish. Each generation has
// a token of its own, which carries the generation's number.
type Token struct {
	Issuer    tokens.Issuer
	SandboxID string
	TTL       time.Duration

	minted tokens.Claims
}

// Files mints a token.
func (t *Token) Files(generation uint64) ([]share.File, error) {
	raw, claims, err := t.Issuer.Mint(tokens.Request{SandboxID: t.SandboxID, Generation: generation, TTL: t.TTL, Now: time.Now()})
	if err != nil {
		return nil, err
	}
	t.minted = claims
	metadata, err := json.Marshal(contract.Metadata{
		Generation: claims.Generation, IssuedAt: claims.IssuedAt.UTC(), ExpiresAt: claims.ExpiresAt.UTC(),
		RenewAt: t.Due().UTC(), Gateway: t.Issuer.GatewayID, AuthMode: contract.AuthMode})
	if err != nil {
		return nil, err
	}
	return []share.File{{Name: contract.TokenName, Data: []byte(raw)}, {Name: contract.MetadataName, Data: append(metadata, '\n')}}, nil
}

// Due returns when the token that was minted last is to be renewed; zero if none was.
func (t *Token) Due() time.Time {
	if t.minted.IssuedAt.IsZero() {
		return time.Time{}
	}
	return tokens.RenewAt(t.minted.IssuedAt, t.TTL, t.SandboxID)
}

// Minted returns the claims of the token that was minted last; zero if none was.
func (t *Token) Minted() tokens.Claims { return t.minted }

// Held is what was read in a share.
type Held struct {
	Claims     tokens.Claims // if the token verifies
	Generation uint64
	Revoked    bool // the key that signed the token is not valid any more
	// Metadata is set if the token has expired or was revoked, so that its times can be
	// shown. Nothing in it is verified.
	Metadata contract.Metadata
}

// Read reads the token in a share's auth directory. It verifies the token, and that its
// subject is sandboxID and its number that of the generation it is in. With an error it
// also returns what could be read.
func Read(auth, sandboxID string, verifier tokens.Verifier, now time.Time) (held Held, err error) {
	content, err := share.Read(auth)
	if err != nil {
		return held, err
	}
	held.Generation = content.Generation
	verifier.Exists = func(string) bool { return true } // the sandbox exists, but may not be known yet
	claims, err := verifier.Verify(string(content.Files[contract.TokenName]), now)
	if err == nil && (claims.SandboxID != sandboxID || claims.Generation != content.Generation) {
		err = errors.New("the share holds the token of another sandbox or another generation")
	}
	held.Revoked = errors.Is(err, tokens.ErrUnknownKey)
	if held.Revoked || errors.Is(err, tokens.ErrExpired) {
		_ = json.Unmarshal(content.Files[contract.MetadataName], &held.Metadata) // only to show
	}
	held.Claims = claims
	return held, err
}
