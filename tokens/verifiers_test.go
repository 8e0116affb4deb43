package tokens_test

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"

	"openshell-vm/internal/discovery"
	"openshell-vm/tokens"
)

// The verifiers here were written by others. They know of an issuer what it serves, and
// nothing else.

const (
	audience    = "https://api.example.com"
	trustDomain = "example.org"
)

// world is an issuer that serves discovery and its keys on a loopback address.
type world struct {
	*testing.T
	issuer tokens.Issuer
}

func newWorld(t *testing.T, wanted ...tokens.Algorithm) *world {
	t.Helper()
	w := &world{T: t, issuer: tokens.Issuer{Keys: newKeys(t, wanted...), GatewayID: "g1", TrustDomain: trustDomain}}
	server := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(server.Close)
	w.issuer.URL = server.URL
	return w
}

func newKeys(t *testing.T, wanted ...tokens.Algorithm) *tokens.Keys {
	t.Helper()
	keys, err := tokens.OpenKeys(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Want(time.Now(), wanted...); err != nil {
		t.Fatal(err)
	}
	return keys
}

func (w *world) serve(out http.ResponseWriter, r *http.Request) {
	documents, err := discovery.Make(w.issuer.URL, w.jwks(time.Now()), 15*time.Minute)
	if err != nil {
		w.Error(err)
	}
	switch r.URL.Path {
	case discovery.ConfigurationPath:
		out.Header().Set("Content-Type", discovery.ConfigurationType)
		_, _ = out.Write(documents.Configuration)
	case discovery.KeysPath:
		out.Header().Set("Content-Type", discovery.KeysType)
		_, _ = out.Write(documents.Keys)
	default:
		http.NotFound(out, r)
	}
}

func (w *world) jwks(now time.Time) []byte {
	set, err := w.issuer.Keys.JWKS(now)
	if err != nil {
		w.Error(err)
	}
	return set
}

// request is for a token that a verifier for the audience takes.
func request(a tokens.Algorithm, now time.Time) tokens.Request {
	return tokens.Request{SandboxID: "5b0c7d0e9f1a", Generation: 7, TTL: time.Hour, Now: now, Audience: audience, Algorithm: a,
		About: tokens.About{Name: "box", Driver: "docker"}, Claims: map[string]string{"team": "a"}}
}

func (w *world) mint(i tokens.Issuer, r tokens.Request) string {
	w.Helper()
	raw, _, err := i.Mint(r)
	if err != nil {
		w.Fatal(err)
	}
	return string(raw)
}

// check gives a verifier the right token and those that it has to refuse. verifier makes
// one that has fetched nothing yet.
func (w *world) check(a tokens.Algorithm, verifier func() func(raw string) error) {
	w.Helper()
	good := w.mint(w.issuer, request(a, time.Now()))
	if err := verifier()(good); err != nil {
		w.Errorf("%s: the right token: %v", a, err)
	}
	identity := request(a, time.Now())
	identity.Identity, identity.NoID, identity.Generation = "builder", true, 0
	if err := verifier()(w.mint(w.issuer, identity)); err != nil {
		w.Errorf("%s: an identity's token without jti: %v", a, err)
	}
	elsewhere := request(a, time.Now())
	elsewhere.Audience += "/v2"
	other := w.issuer
	other.URL, other.TrustDomain = "https://other.example", "other.example"
	foreign := w.issuer
	foreign.Keys = newKeys(w.T, a)
	for name, raw := range map[string]string{
		"another audience": w.mint(w.issuer, elsewhere), "another issuer": w.mint(other, request(a, time.Now())),
		"expired": w.mint(w.issuer, request(a, time.Now().Add(-2*time.Hour))), "another's key": w.mint(foreign, request(a, time.Now())),
		"changed": good[:len(good)-8] + "AAAAAAAA",
	} {
		if verifier()(raw) == nil {
			w.Errorf("%s: taken: %s", a, name)
		}
	}
	if _, err := w.issuer.Keys.Rotate(time.Now(), time.Hour, 0); err != nil {
		w.Fatal(err)
	}
	if err := verifier()(good); err != nil {
		w.Errorf("%s: the old key's token after a rotation: %v", a, err)
	}
	for _, key := range w.issuer.Keys.List(time.Now()) {
		if key.State != tokens.Signing {
			if err := w.issuer.Keys.Retire(key.ID, time.Now()); err != nil {
				w.Fatal(err)
			}
		}
	}
	if verifier()(good) == nil {
		w.Errorf("%s: taken: a token of a key that was rotated out", a)
	}
	if err := verifier()(w.mint(w.issuer, request(a, time.Now()))); err != nil {
		w.Errorf("%s: the new key's token: %v", a, err)
	}
}

// TestOIDC: coreos/go-oidc by discovery. With its default settings alone it takes RS256;
// with discovery what that lists.
func TestOIDC(t *testing.T) {
	byDiscovery := func(w *world) func() func(string) error {
		return func() func(string) error {
			provider, err := oidc.NewProvider(w.Context(), w.issuer.URL)
			if err != nil {
				w.Fatal(err)
			}
			return idToken(w.T, provider.Verifier(&oidc.Config{ClientID: audience}))
		}
	}
	byDefault := func(w *world) func() func(string) error {
		return func() func(string) error {
			keys := oidc.NewRemoteKeySet(w.Context(), w.issuer.URL+discovery.KeysPath)
			return idToken(w.T, oidc.NewVerifier(w.issuer.URL, keys, &oidc.Config{ClientID: audience}))
		}
	}
	w := newWorld(t, tokens.RS256)
	w.check(tokens.RS256, byDefault(w))
	w.check(tokens.RS256, byDiscovery(w))
	w.check(tokens.ES256, byDiscovery(w))
	w.check(tokens.EdDSA, byDiscovery(w))
	if byDefault(w)()(w.mint(w.issuer, request(tokens.ES256, time.Now()))) == nil {
		t.Error("by default it takes ES256: the documents say that it does not")
	}
}

// idToken verifies a token and looks at what the library read in it.
func idToken(t *testing.T, v *oidc.IDTokenVerifier) func(string) error {
	return func(raw string) error {
		token, err := v.Verify(t.Context(), raw)
		if err != nil {
			return err
		}
		var claims struct {
			Team      string       `json:"team"`
			Openshell tokens.About `json:"openshell"`
		}
		if err := token.Claims(&claims); err != nil || claims.Team != "a" || claims.Openshell.Name != "box" || claims.Openshell.ID != "5b0c7d0e9f1a" {
			t.Errorf("it reads %+v: %v", claims, err)
		}
		return nil
	}
}

// TestSPIFFE: a token is a valid JWT-SVID for spiffe/go-spiffe, with the keys as the trust
// domain's bundle. EdDSA is none of a JWT-SVID's algorithms.
func TestSPIFFE(t *testing.T) {
	w := newWorld(t, tokens.RS256)
	verifier := func() func(string) error {
		domain := spiffeid.RequireTrustDomainFromString(trustDomain)
		bundle, err := jwtbundle.Parse(domain, w.jwks(time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		return func(raw string) error {
			svid, err := jwtsvid.ParseAndValidate(raw, bundle, []string{audience})
			if err == nil && (svid.ID.TrustDomain() != domain || !slices.Equal(svid.Audience, []string{audience})) {
				t.Errorf("it reads %+v", svid)
			}
			return err
		}
	}
	w.check(tokens.ES256, verifier)
	w.check(tokens.RS256, verifier)
	if verifier()(w.mint(w.issuer, request(tokens.EdDSA, time.Now()))) == nil {
		t.Error("it takes EdDSA: the documents say that it does not")
	}
}

// cached is a verifier that fetches the keys every 10 minutes and never in between, not even
// if it meets a key that it does not know.
type cached struct {
	w       *world
	fetched time.Time
	keys    oidc.StaticKeySet
}

func (c *cached) verify(raw string, now time.Time) error {
	if now.Sub(c.fetched) >= 10*time.Minute {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(c.w.jwks(now), &set); err != nil {
			return err
		}
		c.fetched, c.keys.PublicKeys = now, []crypto.PublicKey{}
		for _, key := range set.Keys {
			c.keys.PublicKeys = append(c.keys.PublicKeys, key.Key)
		}
	}
	_, err := oidc.NewVerifier(c.w.issuer.URL, &c.keys, &oidc.Config{ClientID: audience, Now: func() time.Time { return now },
		SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256, oidc.EdDSA}}).Verify(context.Background(), raw)
	return err
}

// TestRotationMeetsACache: over two rotations, verifiers that keep the keys for 10 minutes
// refuse no token that has not expired. If the new keys sign at once, they do refuse some.
func TestRotationMeetsACache(t *testing.T) {
	if n := refusedOverRotations(t, 15*time.Minute); n > 0 {
		t.Errorf("published ahead: %d refusals", n)
	}
	if n := refusedOverRotations(t, 0); n == 0 {
		t.Error("not published ahead, and nothing is refused: this test shows nothing")
	}
}

func refusedOverRotations(t *testing.T, publishFor time.Duration) (refused int) {
	const ttl = 20 * time.Minute
	w := newWorld(t)
	algorithms := []tokens.Algorithm{tokens.EdDSA, tokens.ES256}
	type held struct {
		raw    string
		minute int // in which it was minted
	}
	var all []held
	start := time.Now()
	if err := w.issuer.Keys.Want(start, algorithms...); err != nil {
		t.Fatal(err)
	}
	verifiers := []*cached{{w: w, fetched: start.Add(-9 * time.Minute)}, {w: w}, {w: w, fetched: start.Add(-5 * time.Minute)}}
	for minute := range 130 {
		now := start.Add(time.Duration(minute) * time.Minute)
		if minute%60 == 21 {
			if _, err := w.issuer.Keys.Rotate(now, ttl, publishFor); err != nil {
				t.Fatal(err)
			}
		}
		if at := w.issuer.Keys.NextBegin(); !at.IsZero() && !now.Before(at) {
			if _, err := w.issuer.Keys.Begin(now, ttl); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.issuer.Keys.Prune(now); err != nil {
			t.Fatal(err)
		}
		for _, a := range algorithms {
			r := request(a, now)
			r.TTL = ttl
			all = append(all, held{w.mint(w.issuer, r), minute})
		}
		for _, h := range all {
			if age := minute - h.minute; minute < 10 || age != 0 && age != 9 && age != 19 { // by then each has fetched
				continue
			}
			for _, v := range verifiers {
				if v.verify(h.raw, now) != nil {
					refused++
				}
			}
		}
	}
	if n := len(w.issuer.Keys.List(start)); n > 2*len(algorithms) {
		t.Errorf("%d keys are left", n)
	}
	return refused
}

// TestJose: npm's jose. It needs node and the npm registry, so it runs only if
// OPENSHELL_TEST_JOSE is set.
func TestJose(t *testing.T) {
	if os.Getenv("OPENSHELL_TEST_JOSE") == "" {
		t.Skip("OPENSHELL_TEST_JOSE is not set: it would install a package from npm's registry")
	}
	dir := t.TempDir()
	const script = `import { createRemoteJWKSet, jwtVerify } from 'jose'
const [issuer, audience, raw] = process.argv.slice(2)
const found = await (await fetch(issuer + '/.well-known/openid-configuration')).json()
if (found.issuer !== issuer) throw new Error('discovery says ' + found.issuer)
const { payload } = await jwtVerify(raw, createRemoteJWKSet(new URL(found.jwks_uri)), { issuer, audience,
  algorithms: found.id_token_signing_alg_values_supported, requiredClaims: ['sub', 'exp'] })
console.log(JSON.stringify(payload))
`
	run := func(name string, args ...string) ([]byte, error) {
		c := exec.CommandContext(t.Context(), name, args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return out, err
	}
	if _, err := run("npm", "install", "--no-audit", "--no-fund", "jose@6"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "verify.mjs"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, tokens.RS256)
	verifier := func() func(string) error {
		return func(raw string) error {
			out, err := run("node", "verify.mjs", w.issuer.URL, audience, raw)
			if err == nil && !strings.Contains(string(out), `"team":"a"`) {
				t.Errorf("it reads %s", out)
			}
			if err != nil && !strings.Contains(err.Error(), "ERR_J") {
				t.Errorf("it refuses for no reason of its own: %v", err)
			}
			return err
		}
	}
	for _, a := range []tokens.Algorithm{tokens.RS256, tokens.ES256, tokens.EdDSA} {
		w.check(a, verifier)
	}
}
