package provider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const subject = "spiffe://example.org/identity/agent"

// issuer signs what a test wants and serves its keys.
type issuer struct {
	*testing.T
	server *httptest.Server

	mu      sync.Mutex
	keys    jose.JSONWebKeySet
	fetched int
	maxAge  int
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{T: t, maxAge: 3600}
	i.server = httptest.NewTLSServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.server.Close)
	return i
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", i.maxAge))
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		reply(w, http.StatusOK, map[string]any{"issuer": i.server.URL, "jwks_uri": i.server.URL + "/keys"})
	case "/keys":
		i.fetched++
		_ = json.NewEncoder(w).Encode(i.keys)
	}
}

// key makes a key that signs with the algorithm, and serves it.
func (i *issuer) key(alg, id string) jose.SigningKey {
	i.Helper()
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "RS256":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		i.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys.Keys = append(i.keys.Keys, jose.JSONWebKey{Key: private.Public(), KeyID: id, Algorithm: alg, Use: "sig"})
	return jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: private, KeyID: id}}
}

// token is a token that the provider takes, but for what change does to it.
func (i *issuer) token(key jose.SigningKey, audience string, change func(map[string]any)) string {
	i.Helper()
	now := time.Now().Unix()
	claims := map[string]any{"iss": i.server.URL, "aud": audience, "sub": subject, "iat": now, "nbf": now, "exp": now + 60, "jti": rand.Text()}
	if change != nil {
		change(claims)
	}
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		i.Fatal(err)
	}
	payload, _ := json.Marshal(claims)
	signed, err := signer.Sign(payload)
	if err != nil {
		i.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		i.Fatal(err)
	}
	return text
}

func (i *issuer) provider() *Provider {
	return New(Options{Issuer: i.server.URL, Subject: subject, Client: i.server.Client(), Access: time.Second})
}

// TestRules: each provider takes what its documents say and nothing else, and says why not.
func TestRules(t *testing.T) {
	i := newIssuer(t)
	keys := map[string]jose.SigningKey{}
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		keys[alg] = i.key(alg, alg)
	}
	set := func(claim string, value any) func(map[string]any) { return func(c map[string]any) { c[claim] = value } }
	now := time.Now().Unix()
	for _, c := range []struct {
		what, provider, alg string
		change              func(map[string]any)
		refused             string // "" for taken
	}{
		{"an EC key", "aws", "ES256", nil, ""},
		{"an RSA key", "azure", "RS256", nil, ""},
		{"EdDSA", "aws", "EdDSA", nil, "unexpected signature algorithm"},
		{"EdDSA", "anthropic", "EdDSA", nil, "unexpected signature algorithm"},
		{"an EC key", "azure", "ES256", nil, "unexpected signature algorithm"},
		{"another audience", "gcp", "ES256", set("aud", "sts.amazonaws.com"), "audience"},
		{"two audiences", "gcp", "ES256", set("aud", []string{"//iam.googleapis.com/" + Pool, "x"}), "more than one audience"},
		{"another subject", "openai", "ES256", set("sub", "spiffe://example.org/identity/other"), "subject"},
		{"another issuer", "openai", "ES256", set("iss", "https://example.org"), "different provider"},
		{"expired, no leeway", "aws", "ES256", set("exp", now-2), "has expired"},
		{"expired, within the leeway", "anthropic", "ES256", set("exp", now-2), ""},
		{"expired, beyond the leeway", "anthropic", "ES256", set("exp", now-40), "has expired"},
		{"of the future", "aws", "ES256", set("nbf", now+10), "good from"},
		{"issued in the future", "anthropic", "ES256", set("iat", now+60), "good from"},
		{"too long a life", "anthropic", "ES256", set("exp", now+3700), "at most 1h"},
		{"without jti", "anthropic", "ES256", func(c map[string]any) { delete(c, "jti") }, ""},
	} {
		p := i.provider()
		_, err := p.exchange(c.provider, i.token(keys[c.alg], rulesOf(c.provider).Audience, c.change))
		if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %s: %v, wanted %q", c.provider, c.what, err, c.refused)
		}
		if s := p.Seen(c.provider); len(s.Refused) != 0 == (err == nil) || s.Exchanges == 1 != (err == nil) || s.Late == 1 != (c.what == "expired, within the leeway") {
			t.Errorf("%s: %s: %+v", c.provider, c.what, s)
		}
	}
}

// TestOnce: a jti is taken once, as documented, and by others as often as it comes.
func TestOnce(t *testing.T) {
	i := newIssuer(t)
	key := i.key("ES256", "a")
	p := i.provider()
	for _, c := range []struct {
		provider string
		change   func(map[string]any)
		again    string
	}{
		{"anthropic", nil, "jti_reused"}, {"anthropic", func(c map[string]any) { delete(c, "jti") }, ""}, {"aws", nil, ""},
	} {
		token := i.token(key, rulesOf(c.provider).Audience, c.change)
		if _, err := p.exchange(c.provider, token); err != nil {
			t.Error(err)
		}
		if _, err := p.exchange(c.provider, token); (err == nil) != (c.again == "") || err != nil && !strings.Contains(err.Error(), c.again) {
			t.Errorf("%s, again: %v", c.provider, err)
		}
	}
}

// TestKept: keys are kept for as long as they may be, so one that signs too early is refused.
func TestKept(t *testing.T) {
	i := newIssuer(t)
	old := i.key("ES256", "old")
	p := i.provider()
	exchange := func(key jose.SigningKey) error {
		_, err := p.exchange("aws", i.token(key, "sts.amazonaws.com", nil))
		return err
	}
	if err := exchange(old); err != nil {
		t.Fatal(err)
	}
	early := i.key("ES256", "new")
	if err := exchange(early); err == nil {
		t.Error("a key is taken that could not be known")
	}
	if err := exchange(old); err != nil || i.fetched != 1 {
		t.Errorf("%v, fetched %d times", err, i.fetched)
	}
	i.maxAge = 0
	p = i.provider()
	if err := exchange(early); err != nil {
		t.Error(err)
	}
	later := i.key("ES256", "later")
	if err := exchange(later); err != nil {
		t.Errorf("after a time in which it could be known: %v", err)
	}
}

// TestForms: what is asked for in another way than documented is refused and counted, and so
// is a call without access.
func TestForms(t *testing.T) {
	i := newIssuer(t)
	p := i.provider()
	server := httptest.NewTLSServer(p)
	defer server.Close()
	ask := func(host, path, kind, body string) int {
		req, err := http.NewRequest(http.MethodPost, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Content-Type", kind)
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	form := func(kv ...string) string {
		values := url.Values{}
		for n := 0; n < len(kv); n += 2 {
			values.Set(kv[n], kv[n+1])
		}
		return values.Encode()
	}
	const urlencoded, object = "application/x-www-form-urlencoded", "application/json"
	refusals := 0
	for _, c := range []struct{ name, host, path, kind, body string }{
		{"aws", "sts.amazonaws.com", "/", urlencoded, form("Action", "AssumeRoleWithWebIdentity", "RoleArn", "arn:other", "WebIdentityToken", "x")},
		{"aws", "sts.amazonaws.com", "/", urlencoded, form("Action", "AssumeRoleWithWebIdentity", "RoleArn", Role, "WebIdentityToken", "x")},
		{"aws", "sts.amazonaws.com", "/", urlencoded, form("Action", "GetCallerIdentity")},
		{"gcp", "sts.googleapis.com", "/v1/token", urlencoded, form("grant_type", "password")},
		{"gcp", "iamcredentials.googleapis.com", "/", object, "{}"},
		{"gcp", "storage.googleapis.com", "/echo", object, ""},
		{"azure", "login.microsoftonline.com", "/" + Tenant + "/oauth2/v2.0/token", urlencoded, form("client_id", "other")},
		{"azure", "login.microsoftonline.com", "/other", urlencoded, ""},
		{"anthropic", "api.anthropic.com", "/v1/oauth/token", object, `{"grant_type": 1}`},
		{"anthropic", "api.anthropic.com", "/v1/models", object, ""},
		{"openai", "auth.openai.com", "/oauth/token", object, "["},
		{"openai", "api.openai.com", "/v1/models", object, ""},
		{"nobody", "example.org", "/", object, ""},
	} {
		before := len(p.Seen(c.name).Refused)
		if code := ask(c.host, c.path, c.kind, c.body); code < 400 || code >= 500 {
			t.Errorf("%s%s: %d", c.host, c.path, code)
		}
		if got := p.Seen(c.name); len(got.Refused) != before+1 {
			t.Errorf("%s%s: %+v", c.host, c.path, got)
		}
		refusals++
	}
	if refusals == 0 || len(Names()) < 9 {
		t.Fatal("nothing was tried")
	}
}
