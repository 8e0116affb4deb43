package tokens

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SandboxSubject returns the subject of a sandbox.
func SandboxSubject(trustDomain, id string) string {
	return "spiffe://" + trustDomain + "/sandbox/" + id
}

// IdentitySubject returns the subject of an identity, which outlives a sandbox.
func IdentitySubject(trustDomain, name string) string {
	return "spiffe://" + trustDomain + "/identity/" + name
}

// CheckTrustDomain refuses what can't be a trust domain by SPIFFE's rules.
func CheckTrustDomain(s string) error {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return fmt.Errorf("the trust domain %.40q: only a-z, 0-9, '.', '-' and '_' are allowed", s)
		}
	}
	if s == "" || len(s) > 255 {
		return errors.New("a trust domain has 1 to 255 characters")
	}
	return nil
}

// CheckIdentity refuses what can't be the name of an identity.
func CheckIdentity(name string) error {
	if !validID(name) {
		return fmt.Errorf("the identity %.40q: 1 to %d letters, digits, '.', '-' and '_' are allowed, and no '.' at the beginning",
			name, maxID)
	}
	return nil
}

const (
	maxAudience   = 512
	maxClaimName  = 128
	maxClaimValue = 1024
)

// CheckAudience refuses what can't be an audience: it is one word of printable ASCII.
func CheckAudience(s string) error {
	if s == "" || len(s) > maxAudience {
		return fmt.Errorf("an audience has 1 to %d characters", maxAudience)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return fmt.Errorf("the audience %.40q: spaces, quotes, backslashes and characters outside ASCII are not allowed", s)
		}
	}
	return nil
}

// reserved are claims that a user can't set: they have a meaning of their own in RFC 7519,
// in OpenID Connect, or in what grants rights by a token.
var reserved = map[string]bool{
	"nonce": true, "azp": true, "at_hash": true, "c_hash": true, "auth_time": true, "acr": true, "amr": true, "sid": true,
	"cnf": true, "act": true, "may_act": true, "scope": true, "client_id": true, "events": true, "kubernetes.io": true,
}

// CheckClaim refuses a claim that a user can't set: a registered name, one of the token's
// own, or a value that is no short line of text.
func CheckClaim(name, value string) error {
	if name == "" || len(name) > maxClaimName {
		return fmt.Errorf("a claim's name has 1 to %d characters", maxClaimName)
	}
	for _, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("_-.:/", rune(c)) {
			return fmt.Errorf("the claim %.40q: only letters, digits and _ - . : / are allowed in its name", name)
		}
	}
	if low := strings.ToLower(name); wireNames[low] || reserved[low] {
		return fmt.Errorf("the claim %q has a meaning of its own and can't be set", name)
	}
	if len(value) > maxClaimValue || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return fmt.Errorf("the value of the claim %q: at most %d bytes of text without control characters", name, maxClaimValue)
	}
	return nil
}
