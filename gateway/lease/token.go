package lease

import (
	"encoding/json"
	"errors"
	"time"

	"openshell-vm/internal/contract"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// Token is the source of the token and its metadata, for one publish. A token carries
// the number of its generation, so each generation has one of its own.
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

// Due is when the token that was minted last is to be renewed; zero before.
func (t *Token) Due() time.Time {
	if t.minted.IssuedAt.IsZero() {
		return time.Time{}
	}
	return tokens.RenewAt(t.minted.IssuedAt, t.TTL, t.SandboxID)
}

// Minted are the claims of the token that was minted last; zero before.
func (t *Token) Minted() tokens.Claims { return t.minted }

// Held is what a share was found to hold.
type Held struct {
	Claims     tokens.Claims // of a token that verifies
	Generation uint64
	Revoked    bool // its key is not known any more
	// Metadata is told of a token that has expired or was revoked, only to show for how
	// long. Nothing in it is verified.
	Metadata contract.Metadata
}

// Read verifies what the share in a directory holds, and that it is this sandbox's and of
// the generation that it is in. What could be read is given beside an error.
func Read(auth, sandboxID string, verifier tokens.Verifier, now time.Time) (held Held, err error) {
	content, err := share.Read(auth)
	if err != nil {
		return held, err
	}
	held.Generation = content.Generation
	verifier.Exists = func(string) bool { return true } // it does, whether or not it is known yet
	claims, err := verifier.Verify(string(content.Files[contract.TokenName]), now)
	if err == nil && (claims.SandboxID != sandboxID || claims.Generation != content.Generation) {
		err = errors.New("the share holds another sandbox's token")
	}
	held.Revoked = errors.Is(err, tokens.ErrUnknownKey)
	if held.Revoked || errors.Is(err, tokens.ErrExpired) {
		_ = json.Unmarshal(content.Files[contract.MetadataName], &held.Metadata) // only to show
	}
	held.Claims = claims
	return held, err
}
