package tokens

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Raw is a token. Printing, formatting, encoding or logging it gives a placeholder. Only the
// conversions string(raw) and []byte(raw) give the token itself.
type Raw string

const placeholder = "[token]"

// Format writes a placeholder for every verb.
func (Raw) Format(s fmt.State, _ rune) { fmt.Fprint(s, placeholder) }

// LogValue returns a placeholder.
func (Raw) LogValue() slog.Value { return slog.StringValue(placeholder) }

// MarshalText returns a placeholder, so that no record can hold a token by accident.
func (Raw) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// Claims are what a token says.
type Claims struct {
	SandboxID  string
	Generation uint64
	KeyID      string    // the header's kid
	TokenID    string    // jti
	IssuedAt   time.Time // iat: 1 s before it was made, in whole seconds
	ExpiresAt  time.Time // exp, in whole seconds
}

// wire is the claims' form inside the token. A single aud and whole seconds are part of the
// format; Verify refuses any other form.
type wire struct {
	Issuer     string `json:"iss"`
	Audience   string `json:"aud"`
	Subject    string `json:"sub"`
	SandboxID  string `json:"sandbox_id"`
	IssuedAt   int64  `json:"iat"`
	NotBefore  int64  `json:"nbf"`
	ExpiresAt  int64  `json:"exp"`
	TokenID    string `json:"jti"`
	Generation uint64 `json:"gen"`
}

// The jwt.Claims methods. A zero time is a missing claim.

func (w *wire) GetIssuer() (string, error)                   { return w.Issuer, nil }
func (w *wire) GetSubject() (string, error)                  { return w.Subject, nil }
func (w *wire) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings{w.Audience}, nil }
func (w *wire) GetIssuedAt() (*jwt.NumericDate, error)       { return numeric(w.IssuedAt), nil }
func (w *wire) GetNotBefore() (*jwt.NumericDate, error)      { return numeric(w.NotBefore), nil }
func (w *wire) GetExpirationTime() (*jwt.NumericDate, error) { return numeric(w.ExpiresAt), nil }

func numeric(unix int64) *jwt.NumericDate {
	if unix == 0 {
		return nil
	}
	return &jwt.NumericDate{Time: time.Unix(unix, 0)}
}

func (w *wire) claims(kid string) Claims {
	return Claims{
		SandboxID: w.SandboxID, Generation: w.Generation, KeyID: kid, TokenID: w.TokenID,
		IssuedAt: time.Unix(w.IssuedAt, 0), ExpiresAt: time.Unix(w.ExpiresAt, 0),
	}
}

// Issuer mints tokens for one gateway. It is safe for concurrent use.
type Issuer struct {
	Keys      *Keys
	GatewayID string
}

// Request asks for one token.
type Request struct {
	SandboxID  string
	Generation uint64        // from 1
	TTL        time.Duration // from 3 s to MaxTTL; CheckTTL says which are of use
	Now        time.Time
}

// Mint signs a new token. Its lifetime begins a second before Now, and its times are whole
// seconds. So it expires one to two seconds before Now + TTL.
func (i Issuer) Mint(r Request) (Raw, Claims, error) {
	switch {
	case !validID(i.GatewayID) || !validID(r.SandboxID):
		return "", Claims{}, errors.New("mint a token: malformed gateway or sandbox id")
	case r.Generation == 0:
		return "", Claims{}, errors.New("mint a token: no generation")
	case r.TTL < leastTTL || r.TTL > MaxTTL:
		return "", Claims{}, fmt.Errorf("mint a token: a lifetime of %v", r.TTL)
	}
	kid, key := i.Keys.signer()
	issued := r.Now.Add(-skew).Truncate(time.Second)
	w := wire{
		Issuer: issuerPrefix + i.GatewayID, Audience: issuerPrefix + i.GatewayID,
		Subject: subjectPrefix + r.SandboxID, SandboxID: r.SandboxID,
		IssuedAt: issued.Unix(), NotBefore: issued.Unix(), ExpiresAt: issued.Add(r.TTL).Unix(),
		TokenID: newTokenID(), Generation: r.Generation,
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, &w)
	token.Header["kid"] = kid
	raw, err := token.SignedString(key)
	if err != nil {
		return "", Claims{}, fmt.Errorf("mint a token: %w", err)
	}
	return Raw(raw), w.claims(kid), nil
}

func newTokenID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: it ends the program instead
	return hex.EncodeToString(id[:])
}
