package tokens

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxForeign is the size in bytes of the largest token of somebody else that is read.
const MaxForeign = 32 << 10

// Shape is what a token of any issuer says of itself. Nothing in it is verified: it says when a
// token surely is of no use any more, and never that it is good.
type Shape struct {
	Algorithm string
	TokenID   string    // jti; "" if it has none, or one that can't be shown
	IssuedAt  time.Time // iat; zero if it has none
	NotBefore time.Time // nbf; zero if it has none
	ExpiresAt time.Time // exp
}

// Reasons why something is no token that anybody should use. ShapeOf wraps one of them.
var (
	ErrNoToken  = errors.New("it is no JWT: three parts of base64url with points between, the first two of them JSON")
	ErrUnsigned = errors.New("nobody signed it")
	ErrNoExpiry = errors.New("it has no expiry, a claim exp that is a number")
)

// ShapeOf reads what a JWT says of itself. One line break may follow it. A token without a
// signature or an expiry is none.
func ShapeOf(raw []byte) (s Shape, err error) {
	if len(raw) > MaxForeign {
		return s, fmt.Errorf("%w, with more than %d bytes", ErrTooLarge, MaxForeign)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	parts := strings.Split(text, ".")
	if len(parts) != 3 || strings.ContainsAny(text, "\r\n") {
		return s, ErrNoToken
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var claims struct {
		ID        string   `json:"jti"`
		IssuedAt  *float64 `json:"iat"`
		NotBefore *float64 `json:"nbf"`
		ExpiresAt *float64 `json:"exp"`
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !segment(parts[0], &header) || !segment(parts[1], &claims) {
		return s, ErrNoToken
	}
	if header.Algorithm == "" || strings.EqualFold(header.Algorithm, "none") || len(signature) == 0 {
		return s, ErrUnsigned
	}
	if s.ExpiresAt, err = moment(claims.ExpiresAt); err != nil || s.ExpiresAt.IsZero() {
		return s, ErrNoExpiry
	}
	s.Algorithm = header.Algorithm
	s.IssuedAt, _ = moment(claims.IssuedAt) // what is no number is not known
	s.NotBefore, _ = moment(claims.NotBefore)
	if len(claims.ID) <= maxShownID && printable(claims.ID) {
		s.TokenID = claims.ID
	}
	return s, nil
}

// maxShownID bounds the jti that is shown, in bytes.
const maxShownID = 128

// printable reports whether s is ASCII that does nothing to a terminal.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c > 0x7e })
}

// segment decodes one part, which must be a JSON object of that form.
func segment(part string, into any) bool {
	text, err := base64.RawURLEncoding.DecodeString(part)
	var object map[string]json.RawMessage
	return err == nil && json.Unmarshal(text, &object) == nil && object != nil && json.Unmarshal(text, into) == nil
}

// moment returns a time in seconds, which may have a fraction (RFC 7519, 2). It is zero for none.
func moment(n *float64) (time.Time, error) {
	if n == nil {
		return time.Time{}, nil
	}
	if *n < 1 || *n >= 1<<40 {
		return time.Time{}, ErrNoExpiry
	}
	return time.Unix(int64(*n), 0), nil
}
