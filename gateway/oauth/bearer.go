package oauth

import (
	"fmt"
	"net/http"
	"strings"

	"openshell-vm/tokens"
)

// Identity is the answer of /v1/whoami and of /v1/introspect: the claims of a good token, by
// their registered names.
type Identity struct {
	Active     bool   `json:"active"`
	Issuer     string `json:"iss,omitempty"`
	Subject    string `json:"sub,omitempty"`
	Audience   string `json:"aud,omitempty"`
	SandboxID  string `json:"sandbox_id,omitempty"`
	IssuedAt   int64  `json:"iat,omitempty"` // Unix seconds, as exp
	ExpiresAt  int64  `json:"exp,omitempty"`
	TokenID    string `json:"jti,omitempty"`
	Generation uint64 `json:"gen,omitempty"`
	TokenType  string `json:"token_type,omitempty"`
}

func identity(c tokens.Claims) Identity {
	return Identity{Active: true, Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, SandboxID: c.SandboxID,
		IssuedAt: c.IssuedAt.Unix(), ExpiresAt: c.ExpiresAt.Unix(),
		TokenID: c.TokenID, Generation: c.Generation, TokenType: "Bearer"}
}

// whoami answers with the claims of the token in the Authorization header.
func (s server) whoami(w http.ResponseWriter, r *http.Request) {
	raw, ok := bearer(r)
	if !ok { // RFC 6750, 3.1: who sends none is told no error code
		challenge(w, "", "")
		return
	}
	claims, err := s.verified(callerOf(r), raw)
	if err != nil {
		s.refused(r, "", err)
		challenge(w, "invalid_token", err.Error())
		return
	}
	send(w, http.StatusOK, identity(claims))
}

// bearer returns the token in the Authorization header. The scheme's case does not matter.
func bearer(r *http.Request) (raw string, ok bool) {
	scheme, raw, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(raw), ok && strings.EqualFold(scheme, "Bearer")
}

// challenge answers with 401 and RFC 6750's reason. Our errors quote nothing of a token.
func challenge(w http.ResponseWriter, code, description string) {
	value := `Bearer realm="openshell"`
	if code != "" {
		value += fmt.Sprintf(`, error=%q, error_description=%q`, code, quotable(description))
	}
	w.Header().Set("WWW-Authenticate", value)
	body := Refusal{Code: code, Description: description}
	if code == "" {
		body = Refusal{Code: "no_token", Description: "send the token as Authorization: Bearer"}
	}
	send(w, http.StatusUnauthorized, body)
}

// quotable drops what RFC 6750 does not allow in a description.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s)
}

// introspect says whether a token of this gateway is good. A caller without a socket of its own
// has to send its token.
func (s server) introspect(w http.ResponseWriter, r *http.Request) {
	c := callerOf(r)
	if c.Sandbox == "" {
		raw, ok := bearer(r)
		if !ok {
			challenge(w, "", "")
			return
		}
		if _, err := s.verified(c, raw); err != nil {
			s.refused(r, "", err)
			challenge(w, "invalid_token", err.Error())
			return
		}
	}
	form, bad := formOf(r)
	raw := form.Get("token")
	if bad == nil && raw == "" {
		bad = &Refusal{Code: "invalid_request", Description: "there is no token to look at"}
	}
	if bad != nil {
		s.bad(w, r, bad)
		return
	}
	claims, err := s.Introspect(raw, now())
	if err != nil { // RFC 7662, 2.2: not why
		s.refused(r, "", err)
		send(w, http.StatusOK, Identity{})
		return
	}
	send(w, http.StatusOK, identity(claims))
}
