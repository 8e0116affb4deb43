package tokens

import (
	"bytes"
	"encoding/json"
	"time"
)

// Claims are what a token says.
type Claims struct {
	Issuer   string
	Audience string
	Subject  string
	// SandboxID is the sandbox that the token was made for, also if the subject is an identity;
	// "" in a token of a pod.
	SandboxID  string
	Generation uint64    // 0 if no share carries the token
	KeyID      string    // the header's kid
	Algorithm  Algorithm // the key's
	TokenID    string    // jti; "" if the token has none
	IssuedAt   time.Time // iat: 1 s before it was made, in whole seconds
	ExpiresAt  time.Time // exp, in whole seconds
	// About is zero in a token for the gateway.
	About About
	// Own are the user's own claims; nil if there are none.
	Own map[string]string
}

// About is the claim openshell: what the token was made for. It has either an ID or a Pod.
type About struct {
	ID     string `json:"id,omitempty"` // the sandbox's; Mint sets it
	Name   string `json:"name,omitempty"`
	Driver string `json:"driver,omitempty"` // "" for a share of the user's own
	Image  string `json:"image,omitempty"`
	RootFS string `json:"rootfs,omitempty"`
	Pod    *Pod   `json:"kubernetes,omitempty"` // Mint sets it, too
}

// wire is the claims' form inside the token. A single aud and whole seconds are part of the
// format; Verify refuses any other form.
type wire struct {
	Issuer     string `json:"iss"`
	Audience   string `json:"aud"`
	Subject    string `json:"sub"`
	SandboxID  string `json:"sandbox_id,omitempty"`
	IssuedAt   int64  `json:"iat"`
	NotBefore  int64  `json:"nbf"`
	ExpiresAt  int64  `json:"exp"`
	TokenID    string `json:"jti,omitempty"`
	Generation uint64 `json:"gen,omitempty"`
	About      *About `json:"openshell,omitempty"`

	own map[string]string // beside the others, under names that no other has
}

// wireNames are the names of wire's claims.
var wireNames = map[string]bool{"iss": true, "aud": true, "sub": true, "sandbox_id": true, "iat": true,
	"nbf": true, "exp": true, "jti": true, "gen": true, "openshell": true}

func (w wire) encode() ([]byte, error) {
	text, err := compact(w)
	if err != nil || len(w.own) == 0 {
		return text, err
	}
	own, err := compact(w.own)
	if err != nil {
		return nil, err
	}
	return append(append(text[:len(text)-1], ','), own[1:]...), nil
}

// compact is json.Marshal, but writes <, > and & as they are and not as six bytes each.
func compact(v any) ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

// decodeWire returns the claims of a JSON object that parse has taken apart.
func decodeWire(text []byte, fields map[string]json.RawMessage) (*wire, error) {
	w := &wire{}
	if json.Unmarshal(text, w) != nil {
		return nil, ErrMalformed
	}
	for name, value := range fields {
		if wireNames[name] {
			continue
		}
		var s string
		if w.own == nil {
			w.own = map[string]string{}
		}
		if json.Unmarshal(value, &s) != nil || string(value) == "null" {
			return nil, ErrMalformed
		}
		w.own[name] = s
	}
	return w, nil
}

func (w *wire) claims(kid string, a Algorithm) Claims {
	c := Claims{
		Issuer: w.Issuer, Audience: w.Audience, Subject: w.Subject,
		SandboxID: w.SandboxID, Generation: w.Generation, KeyID: kid, Algorithm: a, TokenID: w.TokenID,
		IssuedAt: time.Unix(w.IssuedAt, 0), ExpiresAt: time.Unix(w.ExpiresAt, 0), Own: w.own,
	}
	if w.About != nil {
		c.About = *w.About
	}
	return c
}
