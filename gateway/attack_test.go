package gateway

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audit"
	"openshell-vm/gateway/oauth"
	"openshell-vm/tokens"
)

// forger signs whatever it is told to with the gateway's own keys, which nobody else can read.
type forger struct {
	*world
	keys map[tokens.Algorithm]crypto.Signer
	kids map[tokens.Algorithm]string
}

func newForger(w *world) forger {
	w.Helper()
	f := forger{w, map[tokens.Algorithm]crypto.Signer{}, map[tokens.Algorithm]string{}}
	w.must(w.gateway.keys.Want(time.Now(), tokens.ES256, tokens.RS256))
	for _, info := range w.gateway.keys.List(time.Now()) {
		text, err := os.ReadFile(filepath.Join(w.gateway.home.Keys(), info.ID+".pem"))
		w.must(err)
		block, _ := pem.Decode(text)
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		w.must(err)
		f.keys[info.Algorithm], f.kids[info.Algorithm] = key.(crypto.Signer), info.ID
	}
	return f
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// sign signs a header and claims with the key of this kind, whatever the header says.
func (f forger) sign(a tokens.Algorithm, header, claims string) string {
	f.Helper()
	text := encode(header) + "." + encode(claims)
	sum := sha256.Sum256([]byte(text))
	var sig []byte
	var err error
	switch key := f.keys[a].(type) {
	case ed25519.PrivateKey:
		sig = ed25519.Sign(key, []byte(text))
	case *rsa.PrivateKey:
		sig, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, key, sum[:])
		w := make([]byte, 64)
		r.FillBytes(w[:32])
		s.FillBytes(w[32:])
		sig, err = w, signErr
	}
	f.must(err)
	return text + "." + encode(string(sig))
}

// mac signs with the text of a public key as the secret.
func (f forger) mac(a tokens.Algorithm, header, claims string) string {
	f.Helper()
	der, err := x509.MarshalPKIXPublicKey(f.keys[a].Public())
	f.must(err)
	text := encode(header) + "." + encode(claims)
	h := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	h.Write([]byte(text))
	return text + "." + encode(string(h.Sum(nil)))
}

// attack is a token that no gateway has minted as it is, and the word for why it is refused.
type attack struct{ name, raw, reason string }

// attacks are variations of a token that is good for the sandbox; elsewhere is an address that
// nobody may ask.
func (f forger) attacks(sandbox string, generation uint64, elsewhere string) []attack {
	kid, now := f.kids[tokens.EdDSA], time.Now().Unix()
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"JWT"}`, kid)
	self := "openshell-gateway:" + f.gateway.home.ID
	claims := fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"spiffe://openshell/sandbox/%s","sandbox_id":%q,"iat":%d,"nbf":%d,"exp":%d,"jti":"j","gen":%d}`,
		self, self, sandbox, sandbox, now-30, now-30, now+600, generation)
	head := func(old, new string) string {
		return f.sign(tokens.EdDSA, strings.Replace(header, old, new, 1), claims)
	}
	body := func(old, new string) string {
		return f.sign(tokens.EdDSA, header, strings.Replace(claims, old, new, 1))
	}
	at := func(claim string, value int64) string { return fmt.Sprintf("%q:%d", claim, value) }
	other := func(as, key tokens.Algorithm) string {
		return f.sign(key, fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, as, f.kids[key]), claims)
	}
	good := f.sign(tokens.EdDSA, header, claims)
	const form, algorithm, key, missing = "not a token of", "algorithm is not", "no valid key", "lacks a claim"
	return []attack{
		{"good", good, ""},
		{"alg none", strings.TrimRight(head("EdDSA", "none"), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"), algorithm},
		{"alg none, signed", head("EdDSA", "none"), algorithm},
		{"HS256 with the public key", f.mac(tokens.EdDSA, strings.Replace(header, "EdDSA", "HS256", 1), claims), algorithm},
		{"RS256's key as HMAC", f.mac(tokens.RS256, fmt.Sprintf(`{"alg":"HS256","kid":%q,"typ":"JWT"}`, f.kids[tokens.RS256]), claims), algorithm},
		{"RS256 by name, HMAC in truth", f.mac(tokens.RS256, fmt.Sprintf(`{"alg":"RS256","kid":%q,"typ":"JWT"}`, f.kids[tokens.RS256]), claims), "signature is wrong"},
		{"a key of another kind by its own name", f.sign(tokens.ES256, strings.Replace(header, kid, f.kids[tokens.ES256], 1), claims), algorithm},
		{"a key of another kind by this name", f.sign(tokens.ES256, strings.Replace(header, "EdDSA", "ES256", 1), claims), algorithm},
		{"a key of another kind, truly", other(tokens.ES256, tokens.RS256), algorithm},
		{"kid a path", head(kid, "../../keys/"+kid), key},
		{"kid a URL", head(kid, elsewhere), key},
		{"kid huge", head(kid, strings.Repeat("k", 4000)), key},
		{"kid of control bytes", head(kid, `\u0000\u001b[2J\n`), key},
		{"kid a number", head(fmt.Sprintf("%q", kid), "1"), form},
		{"kid twice", head("{", fmt.Sprintf(`{"kid":%q,`, kid)), form},
		{"jku", head("{", fmt.Sprintf(`{"jku":%q,`, elsewhere+"/jwks")), form},
		{"jku in place of kid", head(fmt.Sprintf(`"kid":%q`, kid), fmt.Sprintf(`"jku":%q`, elsewhere+"/jwks")), form},
		{"x5u", head("{", fmt.Sprintf(`{"x5u":%q,`, elsewhere+"/cert")), form},
		{"jwk", head("{", `{"jwk":{"kty":"OKP","crv":"Ed25519","x":"AA"},`), form},
		{"crit", head("{", `{"crit":["x"],`), form},
		{"no exp", body(","+at("exp", now+600), ""), missing},
		{"exp a string", body(at("exp", now+600), `"exp":"2999"`), form},
		{"exp null", body(at("exp", now+600), `"exp":null`), missing},
		{"exp twice", body("{", `{`+at("exp", now+9000)+`,`), form},
		{"exp in another case", body("{", `{`+at("EXP", now+9000)+`,`), form},
		{"a claim twice", body("{", `{"team":"a","team":"b",`), form},
		{"expired, a second past the leeway", body(at("exp", now+600), at("exp", now-6)), "expired"},
		{"nbf ahead", body(at("nbf", now-30), at("nbf", now+60)), "from the future"},
		{"iat ahead", body(at("iat", now-30), at("iat", now+60)), "from the future"},
		{"a life of years", body(at("exp", now+600), at("exp", now+1e9)), "longer than any"},
		{"another issuer", body(`"iss":"`+self, `"iss":"https://evil.example`), "issuer is not"},
		{"another gateway's issuer", body(`"iss":"`+self, `"iss":"openshell-gateway:aaaaaaaaaaaa`), "issuer is not"},
		{"an issuer that is an address", body(`"iss":"`+self, `"iss":"`+elsewhere), "issuer is not"},
		{"another audience", body(`"aud":"`+self, `"aud":"https://a.example`), "another audience"},
		{"two audiences", body(`"aud":"`+self+`"`, `"aud":["`+self+`","x"]`), form},
		{"another subject", body("sandbox/"+sandbox, "sandbox/zzzzzzzzzzzz"), "subject is not"},
		{"another trust domain", body("spiffe://openshell/", "spiffe://evil/"), "subject is not"},
		{"a sandbox that is not there", f.sign(tokens.EdDSA, header, strings.ReplaceAll(claims, sandbox, "zzzzzzzzzzzz")), "no longer exists"},
		{"a sandbox with control bytes", f.sign(tokens.EdDSA, header, strings.ReplaceAll(claims, sandbox, `\u001b[31m\u0007`)), "no longer exists"},
		{"oversized", body(`"jti":"j"`, `"jti":"`+strings.Repeat("j", 20_000)+`"`), "too large"},
		{"signature of another", good[:strings.LastIndex(good, ".")] + head("J", "j")[strings.LastIndex(head("J", "j"), "."):], "signature is wrong"},
		{"four parts", good + ".x", form},
		{"blank inside", strings.Replace(good, ".", ". ", 1), form},
		{"nothing of a token", "\x80\xff;rm -rf /", form},
	}
}

// asking serves what sandboxes ask, by a caller's socket, with an audit log of its own.
func (w *world) asking(c oauth.Caller) (url string, lines func() []audit.Event) {
	w.Helper()
	log := audit.New(filepath.Join(w.TempDir(), "audit.log"), slog.New(slog.DiscardHandler))
	w.Cleanup(func() { log.Close() })
	options := w.gateway.judges()
	options.Audit, options.Mint = log, w.gateway.exchange
	handler := oauth.Handler(options)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(rw, r.WithContext(oauth.WithCaller(r.Context(), c)))
	}))
	w.Cleanup(server.Close)
	return server.URL, func() (all []audit.Event) {
		w.must(log.Copy(w.Context(), false, func(text []byte) error {
			for line := range bytes.Lines(text) {
				var e audit.Event
				w.must(json.Unmarshal(line, &e))
				all = append(all, e)
				if bytes.ContainsFunc(line[:len(line)-1], func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) || bytes.Contains(line, []byte("\\u00")) {
					w.Errorf("control bytes: %q", line)
				}
			}
			return nil
		}))
		return all
	}
}

// leaks reports whether text holds a part of a token.
func leaks(text, raw string) bool {
	for part := range strings.SplitSeq(raw, ".") {
		if len(part) >= 20 && strings.Contains(text, part[:20]) {
			return true
		}
	}
	return false
}

// TestForgedTokens: whatever is sent in place of a sandbox's token is refused by whoami, by an
// exchange and by introspection, each with its reason, and notes one line that holds no token.
// No address is asked for a key.
func TestForgedTokens(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	w.create(api.CreateRequest{Name: "box", Tokens: api.Tokens{Audiences: []string{"a"}}})
	w.create(api.CreateRequest{Name: "other"})
	w.start("other")
	var fetched atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched.Add(1) }))
	defer elsewhere.Close()
	w.start("box")
	revoked := w.tokenOf("box")
	_, err := w.client.Tokens.Revoke(t.Context(), "box")
	w.must(err)
	f, box := newForger(w), w.get("box").ID
	all := append(f.attacks(box, w.get("box").Token.Generation, elsewhere.URL), attack{"revoked", revoked, "revoked"}, attack{"another sandbox's", w.tokenOf("other"), "another sandbox"})
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			w := w.as(t)
			for _, ask := range []struct {
				path string
				send func(base string) (status int, challenge, body string)
			}{
				{"/v1/whoami", func(base string) (int, string, string) { return w.ask("GET", base+"/v1/whoami", c.raw, nil) }},
				{"/v1/token", func(base string) (int, string, string) {
					return w.ask("POST", base+"/v1/token", "", url.Values{"grant_type": {oauth.GrantExchange}, "subject_token": {c.raw},
						"subject_token_type": {oauth.TypeJWT}, "audience": {"a"}})
				}},
				{"/v1/introspect", func(base string) (int, string, string) {
					return w.ask("POST", base+"/v1/introspect", "", url.Values{"token": {c.raw}})
				}},
			} {
				base, lines := w.asking(oauth.Caller{Sandbox: box, Way: "socket"})
				status, challenge, body := ask.send(base)
				if inspects := ask.path == "/v1/introspect"; c.name == "good" || inspects && strings.HasPrefix(c.name, "another ") && c.reason == "another sandbox" {
					if status != 200 || strings.Contains(body, c.raw) {
						t.Errorf("%s: %d, %s", ask.path, status, body)
					}
					continue
				} else if inspects && c.reason == "another audience" {
					continue // it is good for somebody else; whose it is, introspection may tell
				}
				w.refusedFor(ask.path, c, status, challenge, body, lines())
			}
		})
	}
	if n := fetched.Load(); n != 0 {
		t.Errorf("an address in a token was asked %d times", n)
	}
}

// refusedFor checks an answer, and the one line about it.
func (w *world) refusedFor(path string, c attack, status int, challenge, body string, lines []audit.Event) {
	w.Helper()
	good := false
	switch path {
	case "/v1/whoami":
		good = status == 401 && strings.Contains(challenge, `error="invalid_token"`) && strings.Contains(challenge, c.reason)
	case "/v1/token":
		good = status == 400 && strings.Contains(body, `"error":"invalid_request"`) && strings.Contains(body, c.reason)
	case "/v1/introspect": // RFC 7662, 2.2: not why
		good = status == 200 && strings.TrimSpace(body) == `{"active":false}`
	}
	if !good {
		w.Errorf("%s: %d, %q, %s", path, status, challenge, body)
	}
	if len(lines) != 1 || lines[0].What != audit.Refusal || !strings.HasPrefix(lines[0].Reason, path+": ") || !strings.Contains(lines[0].Reason, c.reason) {
		w.Errorf("%s: the audit log has %+v", path, lines)
	}
	if leaks(fmt.Sprint(challenge, body, lines), c.raw) {
		w.Errorf("%s: a part of the token is told: %q, %s, %v", path, challenge, body, lines)
	}
}

// ask sends a request, in the way of a client that sends whatever it is told to.
func (w *world) ask(method, url, bearer string, form url.Values) (status int, challenge, body string) {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), method, url, strings.NewReader(form.Encode()))
	w.must(err)
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultClient.Do(request)
	w.must(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	w.must(err)
	return response.StatusCode, response.Header.Get("WWW-Authenticate"), string(text)
}

// as returns the same world for a subtest.
func (w *world) as(t *testing.T) *world {
	sub := *w
	sub.TB = t
	return &sub
}
