package tokens

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
)

// foreign makes a token that nobody signed well.
func foreign(header, claims, signature string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc([]byte(claims)) + "." + enc([]byte(signature))
}

// TestShapes: what is a token of somebody else, and what it says of itself.
func TestShapes(t *testing.T) {
	const header, claims = `{"alg":"RS256","kid":"theirs"}`, `{"iss":"https://idp","aud":["a","b"],"exp":2000000000,"iat":1000000000,"jti":"x-1"}`
	good := foreign(header, claims, "s")
	for raw, want := range map[string]Shape{
		good:        {Algorithm: "RS256", TokenID: "x-1", IssuedAt: time.Unix(1e9, 0), ExpiresAt: time.Unix(2e9, 0)},
		good + "\n": {Algorithm: "RS256", TokenID: "x-1", IssuedAt: time.Unix(1e9, 0), ExpiresAt: time.Unix(2e9, 0)},
		foreign(header, `{"exp":2000000000.9,"nbf":1500000000,"iat":"soon","jti":"\u001b[2J"}`, "s"): {},
		foreign(header, `{"exp":2000000000.9,"nbf":1500000000,"jti":"\u001b[2J"}`, "s"): {Algorithm: "RS256",
			NotBefore: time.Unix(15e8, 0), ExpiresAt: time.Unix(2e9, 0)},
	} {
		got, err := ShapeOf([]byte(raw))
		if want == (Shape{}) {
			if !errors.Is(err, ErrNoToken) {
				t.Errorf("%q: %v", raw, err)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", raw, got, err)
		}
	}
	for raw, want := range map[string]error{
		"":                                           ErrNoToken,
		"a.b":                                        ErrNoToken,
		"-----BEGIN PRIVATE KEY-----":                ErrNoToken,
		good[:len(good)/2]:                           ErrNoToken,
		good + ".x":                                  ErrNoToken,
		good + "\n\n":                                ErrNoToken,
		good + "\n" + good:                           ErrNoToken,
		" " + good:                                   ErrNoToken,
		foreign("null", claims, "s"):                 ErrNoToken,
		foreign(header, "[]", "s"):                   ErrNoToken,
		foreign(header, "{}{}", "s"):                 ErrNoToken,
		strings.TrimSuffix(good, "cw") + "":          ErrUnsigned,
		foreign(`{"alg":"none"}`, claims, ""):        ErrUnsigned,
		foreign(`{"alg":"nOnE"}`, claims, "s"):       ErrUnsigned,
		foreign(`{}`, claims, "s"):                   ErrUnsigned,
		foreign(header, `{"iat":1}`, "s"):            ErrNoExpiry,
		foreign(header, `{"exp":0}`, "s"):            ErrNoExpiry,
		foreign(header, `{"exp":-5}`, "s"):           ErrNoExpiry,
		foreign(header, `{"exp":1e300}`, "s"):        ErrNoExpiry,
		foreign(header, `{"exp":"2000000000"}`, "s"): ErrNoToken,
		foreign(header, `{"exp":null}`, "s"):         ErrNoExpiry,
		strings.Repeat("x", MaxForeign+1):            ErrTooLarge,
	} {
		if _, err := ShapeOf([]byte(raw)); !errors.Is(err, want) {
			t.Errorf("%.60q: %v, not %v", raw, err, want)
		}
	}
}

// FuzzShapeOf: no content of a file makes it fail otherwise.
func FuzzShapeOf(f *testing.F) {
	f.Add([]byte(foreign(`{"alg":"RS256"}`, `{"exp":2000000000}`, "s")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := ShapeOf(raw); err == nil && (s.ExpiresAt.IsZero() || s.Algorithm == "") {
			t.Errorf("%q: %+v", raw, s)
		}
	})
}
