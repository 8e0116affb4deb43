//go:build e2e

package kubernetes_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// TestAPIServer holds what the other tests build on: the API server makes tokens that are bound to
// a pod, and says by discovery where its keys are, at an address that leads nowhere.
func TestAPIServer(t *testing.T) {
	c := start(t, "prod")
	pod := c.pod("work", "runner", "first")
	claims := claimsOf(t, c.token(pod, "https://tokens.example.org"))
	bound, _ := claims["kubernetes.io"].(map[string]any)
	if claims["iss"] != clusterIssuer || bound["namespace"] != "work" || bound["pod"].(map[string]any)["uid"] != string(pod.UID) {
		t.Errorf("the token says %v", claims)
	}
	text, err := c.rest.Get().AbsPath("/.well-known/openid-configuration").DoRaw(t.Context())
	c.must(err)
	var document struct {
		Issuer string
		Keys   string `json:"jwks_uri"`
	}
	c.must(json.Unmarshal(text, &document))
	if document.Issuer != clusterIssuer || !strings.HasPrefix(document.Keys, "https://192.0.2.1:") {
		t.Errorf("discovery says %s", text)
	}
}

// claimsOf returns what a token says, unverified.
func claimsOf(t testing.TB, token string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("this is no token")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}
