package discovery

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const twoKeys = `{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"BBBB","kid":"one","use":"sig","alg":"ES256"},` +
	`{"kty":"OKP","crv":"Ed25519","x":"CCCC","kid":"two","use":"sig","alg":"EdDSA"}]}`

func documents(t *testing.T, issuer string) Documents {
	t.Helper()
	d, err := Make(issuer, []byte(twoKeys), 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestMake(t *testing.T) {
	d := documents(t, "https://x.example/a")
	var c map[string]any
	if err := json.Unmarshal(d.Configuration, &c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"issuer": "https://x.example/a", "jwks_uri": "https://x.example/a/.well-known/jwks.json",
		"id_token_signing_alg_values_supported": []any{"ES256", "EdDSA"}, "subject_types_supported": []any{"public"},
		"response_types_supported": []any{"id_token"}} {
		if !reflect.DeepEqual(c[name], want) {
			t.Errorf("%s is %v", name, c[name])
		}
	}
	if d.CacheControl() != "public, max-age=600" {
		t.Error(d.CacheControl())
	}
	if d, err := Make("", []byte(twoKeys), 0); err != nil || d.Configuration != nil || d.CacheControl() != "no-cache" {
		t.Errorf("no issuer: %+v, %v", d, err)
	}
	if _, err := Make("", []byte("x"), 0); err == nil {
		t.Error("a broken set of keys is taken")
	}
}

func TestDigest(t *testing.T) {
	d := documents(t, "https://x.example")
	turned := d
	turned.Keys = []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"CCCC","kid":"two"},{"kty":"EC","crv":"P-256","x":"AAAA","y":"BBBB","kid":"one"}]}`)
	if d.Digest() != turned.Digest() {
		t.Error("the order of the keys counts")
	}
	for _, other := range []string{strings.ReplaceAll(twoKeys, "AAAA", "AAAB"), strings.ReplaceAll(twoKeys, `"two"`, `"2"`), `{"keys":[]}`} {
		changed := d
		changed.Keys = []byte(other)
		if changed.Digest() == d.Digest() {
			t.Errorf("not told apart: %s", other)
		}
	}
	if d.Digest() == documents(t, "https://y.example").Digest() {
		t.Error("issuers are not told apart")
	}
}

func TestExport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	d := documents(t, "https://x.example")
	for range 2 {
		files, err := Export(dir, d, true)
		if err != nil || len(files) != 3 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			info, err := os.Stat(filepath.Join(dir, f.Path))
			if err != nil || info.Mode().Perm() != 0o644 || f.Type == "" {
				t.Errorf("%+v: %v, %v", f, info, err)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "jwks.json"))
	if err != nil || string(text) != string(d.Keys) {
		t.Errorf("%s, %v", text, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".well-known", ".*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// world is what verifiers see of an issuer, over HTTPS.
type world struct {
	server   *httptest.Server
	answers  map[string]string
	types    map[string]string
	caching  string
	redirect string
	status   int
}

func newWorld(t *testing.T, serve func(http.Handler) *httptest.Server) *world {
	w := &world{answers: map[string]string{}, types: map[string]string{ConfigurationPath: ConfigurationType, KeysPath: KeysType},
		caching: "public, max-age=600", status: 200}
	w.server = serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.redirect != "" && r.URL.Path == ConfigurationPath {
			http.Redirect(rw, r, w.redirect, http.StatusFound)
			return
		}
		path := strings.TrimPrefix(r.URL.Path, "/moved")
		if w.answers[path] == "" {
			http.NotFound(rw, r)
			return
		}
		rw.Header().Set("Content-Type", w.types[path])
		if w.caching != "" {
			rw.Header().Set("Cache-Control", w.caching)
		}
		rw.WriteHeader(w.status)
		fmt.Fprint(rw, w.answers[path])
	}))
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) wanted(t *testing.T) Wanted {
	d := documents(t, w.server.URL)
	w.answers[ConfigurationPath], w.answers[KeysPath] = string(d.Configuration), string(d.Keys)
	return Wanted{Issuer: w.server.URL, Documents: d, PublishFor: 15 * time.Minute, Roles: map[string]string{"one": "signs now",
		"two": "signs from 12:00"}}
}

// TestCheck: each thing that a verifier would stumble over has its line.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*world)
		level Level
		line  string // "" for nothing wrong or to note
	}{
		{"as it should be", func(*world) {}, "", ""},
		{"no document", func(w *world) { w.answers[ConfigurationPath] = "" }, Wrong, "404 Not Found"},
		{"no keys", func(w *world) { w.answers[KeysPath] = "" }, Wrong, "jwks.json answers 404"},
		{"an error", func(w *world) { w.status = 500 }, Wrong, "500 Internal Server Error"},
		{"another issuer", func(w *world) {
			w.answers[ConfigurationPath] = strings.Replace(w.answers[ConfigurationPath], `",`, `/",`, 1)
		}, Wrong, `tokens say "https://127`},
		{"no JSON", func(w *world) { w.answers[ConfigurationPath] = "<html>" }, Wrong, "no discovery document"},
		{"keys that are none", func(w *world) { w.answers[KeysPath] = "[1]" }, Wrong, "not a JSON Web Key Set"},
		{"a key is missing", func(w *world) { w.answers[KeysPath] = strings.ReplaceAll(twoKeys, `"two"`, `"old"`) }, Wrong,
			"lacks the EdDSA key two, which signs from 12:00: its tokens"},
		{"a key too many", func(w *world) {
			w.answers[KeysPath] = strings.Replace(twoKeys, "[", `[{"kid":"old","kty":"EC"},`, 1)
		}, Note, "the key old, which verifies nothing"},
		{"another key", func(w *world) { w.answers[KeysPath] = strings.ReplaceAll(twoKeys, "AAAA", "AAAB") }, Wrong,
			"another key by the name of the ES256 key one"},
		{"a private key", func(w *world) { w.answers[KeysPath] = strings.Replace(twoKeys, `"x":"A`, `"d":"secret","x":"A`, 1) }, Wrong,
			"a private key in it: one"},
		{"an algorithm is missing", func(w *world) {
			w.answers[ConfigurationPath] = strings.Replace(w.answers[ConfigurationPath], `"ES256"`, `"RS256"`, 1)
		}, Wrong, "the algorithm ES256"},
		{"keys in clear", func(w *world) {
			w.answers[ConfigurationPath] = strings.Replace(w.answers[ConfigurationPath], w.server.URL+KeysPath, "http://x.example/k", 1)
		}, Wrong, "no https URL"},
		{"the document's type", func(w *world) { w.types[ConfigurationPath] = "application/octet-stream" }, Wrong,
			`content type "application/octet-stream"`},
		{"the keys' type", func(w *world) { w.types[KeysPath] = "text/plain; charset=utf-8" }, Wrong, "serve it as application/jwk-set+json"},
		{"the keys as JSON", func(w *world) { w.types[KeysPath] = "application/json;charset=UTF-8" }, "", ""},
		{"no caching", func(w *world) { w.caching = "" }, Note, "send Cache-Control: public, max-age=600"},
		{"caching forbidden", func(w *world) { w.caching = "no-store" }, "", ""},
		{"cached for too long", func(w *world) { w.caching = "max-age=3600" }, Wrong, "may be kept for 1h0m0s"},
		{"redirected", func(w *world) { w.redirect = w.server.URL + "/moved" + ConfigurationPath }, Note, "not every verifier follows"},
		{"redirected to clear", func(w *world) { w.redirect = "http://127.0.0.1:1/" }, Wrong, "redirects to plain HTTP"},
		{"redirected for ever", func(w *world) { w.redirect = ConfigurationPath }, Wrong, "more than 10 redirects"},
		{"endless", func(w *world) { w.answers[KeysPath] = strings.Repeat(" ", maxDocument+1) }, Wrong, "more than 1048576 bytes"},
		{"hostile text", func(w *world) {
			w.answers[KeysPath] = strings.Replace(twoKeys, "[", `[{"kid":"\u001b[31mred\u202e"},`, 1)
		}, Note, "the key red?,"},
	} {
		w := newWorld(t, httptest.NewTLSServer)
		want := w.wanted(t)
		c.spoil(w)
		found := Check(t.Context(), w.server.Client(), want)
		bad := slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return f.Level == Good })
		switch {
		case c.line == "" && (len(bad) > 0 || len(found) != 3):
			t.Errorf("%s: %v", c.name, found)
		case c.line != "" && !slices.ContainsFunc(bad, func(f Finding) bool { return f.Level == c.level && strings.Contains(f.Line, c.line) }):
			t.Errorf("%s: %v, wanted %q", c.name, found, c.line)
		}
		if Failed(found) != (c.level == Wrong) {
			t.Errorf("%s: failed %v", c.name, Failed(found))
		}
	}
}

// TestCheckUnreachable: whom nobody knows, who does not listen, and who is not trusted.
func TestCheckUnreachable(t *testing.T) {
	w := newWorld(t, httptest.NewTLSServer)
	want := w.wanted(t)
	if f := Check(t.Context(), nil, want); len(f) != 1 || f[0].Level != Wrong || !strings.Contains(f[0].Line, "certificate") {
		t.Errorf("a certificate of nobody's: %v", f)
	}
	client := w.server.Client()
	w.server.Close()
	if f := Check(t.Context(), client, want); len(f) != 1 || !strings.Contains(f[0].Line, "refused") {
		t.Errorf("nobody listens: %v", f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f := Check(ctx, client, want); len(f) != 1 || f[0].Level != Wrong {
		t.Errorf("cancelled: %v", f)
	}
}
