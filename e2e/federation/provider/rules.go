package provider

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Rules are by what a provider takes a token.
type Rules struct {
	Audience, Subject string
	Algorithms        []string
	Once              bool          // each jti once; a token without one is exempt
	Longest           time.Duration // between iat and exp; 0 for any
	Leeway            time.Duration // of clocks
}

var (
	rsaOrEC = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"}
	withPSS = append(slices.Clone(rsaOrEC), "PS256", "PS384", "PS512")
)

// rulesOf returns a provider's rules, as far as its documents tell them. Where they tell no
// leeway there is none, which is stricter than any of them can be.
func rulesOf(name string) Rules {
	return map[string]Rules{
		// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
		"aws": {Audience: "sts.amazonaws.com", Algorithms: rsaOrEC},
		// https://cloud.google.com/iam/docs/workload-identity-federation-with-other-providers
		"gcp": {Audience: "//iam.googleapis.com/" + Pool, Algorithms: []string{"RS256", "ES256"}, Longest: 24 * time.Hour},
		// https://learn.microsoft.com/en-us/entra/workload-id/workload-identity-federation-considerations
		"azure": {Audience: "api://AzureADTokenExchange", Algorithms: []string{"RS256"}},
		// https://platform.claude.com/docs/en/manage-claude/wif-reference
		"anthropic": {Audience: "https://api.anthropic.com", Algorithms: withPSS, Once: true, Longest: time.Hour, Leeway: 30 * time.Second},
		// https://developers.openai.com/api/docs/guides/workload-identity-federation: no algorithm is told
		"openai": {Audience: "https://api.openai.com/v1", Algorithms: rsaOrEC},
	}[name]
}

// verifier knows of an issuer what it serves.
type verifier struct {
	issuer string
	client *http.Client

	mu    sync.Mutex
	found *oidc.Provider // once it was discovered
}

// told is what a token says.
type told struct {
	ID, KeyID string
	Late      bool // it had expired, or was not good yet, but for the leeway
}

// verify judges a token by the rules. The time is judged here, since go-oidc has a leeway of its
// own for it.
func (v *verifier) verify(token string, r Rules, now time.Time) (t told, err error) {
	ctx := oidc.ClientContext(context.Background(), v.client)
	found, err := v.discover(ctx)
	if err != nil {
		return t, fmt.Errorf("discovery: %w", err)
	}
	config := &oidc.Config{ClientID: r.Audience, SupportedSigningAlgs: r.Algorithms, SkipExpiryCheck: true}
	id, err := found.VerifierContext(ctx, config).Verify(ctx, token)
	if err != nil {
		return t, err
	}
	var claims struct {
		ID        string `json:"jti"`
		NotBefore int64  `json:"nbf"`
	}
	if err := id.Claims(&claims); err != nil {
		return t, err
	}
	switch {
	case id.Subject != r.Subject:
		return t, fmt.Errorf("the subject is %q, not %q", id.Subject, r.Subject)
	case len(id.Audience) != 1:
		return t, errors.New("there is more than one audience")
	case r.Longest != 0 && id.Expiry.Sub(id.IssuedAt) > r.Longest:
		return t, fmt.Errorf("it lives for %v, at most %v", id.Expiry.Sub(id.IssuedAt), r.Longest)
	}
	begin := time.Unix(claims.NotBefore, 0)
	if id.IssuedAt.After(begin) {
		begin = id.IssuedAt
	}
	if now.Before(begin.Add(-r.Leeway)) {
		return t, fmt.Errorf("it is good from %v on", begin)
	}
	if !now.Before(id.Expiry.Add(r.Leeway)) {
		return t, fmt.Errorf("it has expired %v ago", now.Sub(id.Expiry))
	}
	return told{claims.ID, keyID(token), now.Before(begin) || !now.Before(id.Expiry)}, nil
}

// discover fetches the issuer's discovery document until it has succeeded once.
func (v *verifier) discover(ctx context.Context) (*oidc.Provider, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.found == nil {
		found, err := oidc.NewProvider(ctx, v.issuer)
		if err != nil {
			return nil, err
		}
		v.found = found
	}
	return v.found, nil
}

// keyID returns the kid of a token that was verified.
func keyID(token string) string {
	header, _, _ := strings.Cut(token, ".")
	text, _ := base64.RawURLEncoding.DecodeString(header)
	var h struct {
		KeyID string `json:"kid"`
	}
	if json.Unmarshal(text, &h) != nil || h.KeyID == "" {
		return fmt.Sprintf("none:%x", sha256.Sum256([]byte(header)))
	}
	return h.KeyID
}
