package discovery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Paths of the documents below an issuer's URL. The first is fixed by OpenID Connect
// Discovery 1.0; the second is in the first.
const (
	ConfigurationPath = "/.well-known/openid-configuration"
	KeysPath          = "/.well-known/jwks.json"
)

// Content types of the documents.
const (
	ConfigurationType = "application/json"
	KeysType          = "application/jwk-set+json"
)

// Configuration is the document of OpenID Connect Discovery 1.0, section 3, without what is
// only for logins.
type Configuration struct {
	Issuer       string   `json:"issuer"`
	KeysURL      string   `json:"jwks_uri"`
	Responses    []string `json:"response_types_supported"`
	SubjectTypes []string `json:"subject_types_supported"`
	Algorithms   []string `json:"id_token_signing_alg_values_supported"`
	Scopes       []string `json:"scopes_supported"`
	Claims       []string `json:"claims_supported"`
}

// claims are what tokens say.
var claims = []string{"iss", "sub", "aud", "iat", "nbf", "exp", "jti", "gen", "sandbox_id", "openshell"}

// Documents are what verifiers fetch.
type Documents struct {
	Configuration []byte // nil if there is no issuer with a URL
	Keys          []byte // a JSON Web Key Set
	// MaxAge is how long a verifier may keep them; 0 means that it should ask each time.
	MaxAge time.Duration
}

// Make makes the documents of an issuer, "" for none, with a key set. publishFor is how long a
// key is public before it signs. A verifier that keeps the documents for MaxAge, and is up to a
// third of publishFor late with it, has each key before it signs.
func Make(issuer string, keySet []byte, publishFor time.Duration) (Documents, error) {
	set, err := parseKeys(keySet)
	if err != nil {
		return Documents{}, err
	}
	d := Documents{Keys: append(slices.Clone(keySet), '\n'), MaxAge: (publishFor * 2 / 3).Truncate(time.Second)}
	if issuer == "" {
		return d, nil
	}
	text, err := json.MarshalIndent(Configuration{Issuer: issuer, KeysURL: issuer + KeysPath, Responses: []string{"id_token"},
		SubjectTypes: []string{"public"}, Algorithms: set.algorithms(), Scopes: []string{"openid"}, Claims: claims}, "", "  ")
	d.Configuration = append(text, '\n')
	return d, err
}

// CacheControl is the header's value for both documents.
func (d Documents) CacheControl() string {
	if d.MaxAge < time.Second {
		return "no-cache"
	}
	return fmt.Sprintf("public, max-age=%d", d.MaxAge/time.Second)
}

// Digest tells documents with other content apart. The order of the keys does not count.
func (d Documents) Digest() string {
	set, _ := parseKeys(d.Keys)
	var lines []string
	for _, k := range set.Keys {
		lines = append(lines, k.text())
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(string(d.Configuration) + strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:16])
}

// KeyIDs returns the ids of the keys.
func (d Documents) KeyIDs() (kids []string) {
	set, _ := parseKeys(d.Keys)
	for _, k := range set.Keys {
		kids = append(kids, k.ID)
	}
	return kids
}

// keySet is a JSON Web Key Set.
type keySet struct {
	Keys []key `json:"keys"`
}

// key is what all kinds of keys have in common, and what makes them different.
type key struct {
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	N         string `json:"n"`
	E         string `json:"e"`
	Private   string `json:"d"`
}

// text is the key without what may be left out.
func (k key) text() string {
	k.Algorithm = ""
	return fmt.Sprintf("%q", k)
}

func parseKeys(text []byte) (keySet, error) {
	var set keySet
	if err := json.Unmarshal(text, &set); err != nil {
		return set, fmt.Errorf("not a JSON Web Key Set: %w", err)
	}
	return set, nil
}

// algorithms returns those that have a key, in the order that the most verifiers know.
func (s keySet) algorithms() []string {
	names := []string{}
	for _, name := range []string{"RS256", "ES256", "EdDSA"} {
		if slices.ContainsFunc(s.Keys, func(k key) bool { return k.Algorithm == name }) {
			names = append(names, name)
		}
	}
	return names
}
