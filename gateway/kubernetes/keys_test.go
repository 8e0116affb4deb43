package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/gateway/config"
	"openshell-vm/gateway/kubernetes/clustertest"
)

// fetches counts how often the key set was fetched.
func (w *world) fetches() int {
	n := 0
	for _, path := range w.cluster.Requests() {
		if path == "/openid/v1/jwks" {
			n++
		}
	}
	return n
}

// settled waits until no fetch is under way.
func (w *world) settled() {
	w.Helper()
	for deadline := time.Now().Add(someLater); ; time.Sleep(time.Millisecond) {
		busy := false
		w.change(func(s *keySet) { busy = s.flight != nil })
		if !busy {
			return
		}
		if time.Now().After(deadline) {
			w.Fatal("a fetch does not end")
		}
	}
}

// older makes the key set older than it is.
func (w *world) older(by time.Duration) { w.change(func(s *keySet) { s.fetched = s.fetched.Add(-by) }) }

// TestKinds: a key of each kind that Kubernetes signs with.
func TestKinds(t *testing.T) {
	w := newWorld(t, config.ByKeys)
	for _, algorithm := range []string{"ES256", "ES384", "ES512", "RS256"} {
		key := clustertest.NewKey(t, algorithm, "of "+algorithm)
		w.cluster.Set(func() { w.cluster.Keys = append(w.cluster.Keys, key) })
		w.must(w.good())
	}
}

// TestRotatedKey: a key id that is not known has the keys fetched once, whoever waits for it; one that
// nobody has does not have them fetched at will.
func TestRotatedKey(t *testing.T) {
	w := newWorld(t, config.ByKeys)
	w.must(w.good())
	before := w.fetches()
	next := clustertest.NewKey(t, "ES256", "next")
	w.cluster.Set(func() { w.cluster.Keys = []clustertest.Key{next} })
	var all sync.WaitGroup
	for range maxExchanges {
		all.Go(func() { w.must(w.good()) })
	}
	all.Wait()
	if n := w.fetches() - before; n != 1 {
		t.Errorf("%d fetches for one new key", n)
	}
	header := map[string]any{"alg": "RS256", "kid": "first"}
	old := clustertest.NewKey(t, "RS256", "first").Sign(t, header, w.good())
	if _, bad := w.exchange(old, allowed); !strings.Contains(bad, "no key of its cluster") {
		t.Errorf("a key that the cluster gave up: %q", bad)
	}
	paced := 0
	for i := range 100 {
		header["kid"] = fmt.Sprint("nobody's ", i)
		switch _, bad := w.exchange(next.Sign(t, header, w.good()), allowed); {
		case strings.HasPrefix(bad, "temporarily_unavailable"):
			paced++
		case !strings.Contains(bad, "no key of its cluster"):
			t.Errorf("%q", bad)
		}
	}
	if n := w.fetches() - before; n > fetchBurst+2 || paced < 90 {
		t.Errorf("%d fetches, %d were told to come again", n, paced)
	}
	w.must(w.good()) // who has a key that is known does not wait
}

// TestAway: keys that are known serve while the API server is away, for an hour, and are fetched
// again when they are not new.
func TestAway(t *testing.T) {
	w := newWorld(t, config.ByKeys)
	w.must(w.good())
	fetched := w.fetches()
	w.older(refreshAfter + time.Second)
	w.must(w.good())
	w.settled()
	if w.fetches() != fetched+1 {
		t.Errorf("%d fetches after %d: old keys were not fetched again", w.fetches(), fetched)
	}
	w.must(w.good())

	gone := clustertest.New(t, kubeadm)
	gone.Close()
	w.keySet().server.url = gone.URL
	w.older(maxAge - time.Minute)
	if line := w.Status(time.Now())["prod"]; !strings.HasPrefix(line, "its keys: 1, fetched 59m") {
		t.Errorf("%q", line)
	}
	w.must(w.good())
	w.settled()
	if line := w.Status(time.Now())["prod"]; !strings.Contains(line, "connection refused") {
		t.Errorf("%q", line)
	}
	settings := w.settings
	settings.Allow = settings.Allow[:1]
	w.Configure(map[string]config.Cluster{"prod": settings})
	w.must(w.good())
	w.older(2 * time.Minute)
	if _, bad := w.exchange(w.cluster.Token(w.good()), allowed); !strings.HasPrefix(bad, "temporarily_unavailable: the cluster's keys can't") {
		t.Errorf("with keys of an hour ago: %q", bad)
	}
	w.keySet().server.url = w.cluster.URL
	w.must(w.good())
	w.change(func(s *keySet) { s.fetched = time.Now().Add(time.Hour) })
	fetched = w.fetches()
	w.must(w.good())
	if w.fetches() != fetched+1 {
		t.Error("the clock was set back, and keys of any age serve")
	}
}

// TestKnownKeyWaitsForNobody: while the API server does not answer, strangers who send key ids that
// nobody has keep no pod out whose key is known.
func TestKnownKeyWaitsForNobody(t *testing.T) {
	w := newWorld(t, config.ByKeys)
	w.must(w.good())
	arrived, end := make(chan struct{}, 100), make(chan struct{})
	w.cluster.Set(func() {
		w.cluster.Instead = func(http.ResponseWriter, *http.Request) bool { arrived <- struct{}{}; <-end; return true }
	})
	strange := clustertest.NewKey(t, "ES256", "nobody's")
	header := map[string]any{"alg": "ES256", "kid": "nobody's"}
	token := strange.Sign(t, header, w.good())
	var flood sync.WaitGroup
	defer flood.Wait()
	defer close(end)
	for range maxExchanges {
		flood.Go(func() { w.exchange(token, allowed) })
	}
	<-arrived
	for deadline := time.Now().Add(someLater); len(w.all["prod"].server.waiting) < maxExchanges; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("they do not wait")
		}
	}
	if _, bad := w.exchange(token, allowed); !strings.Contains(bad, "too many exchanges") {
		t.Errorf("one too many: %q", bad)
	}
	w.must(w.good())
}

// TestFailedUpkeep: while the keys can't be fetched, exchanges with a key that is known don't have that
// tried all the time.
func TestFailedUpkeep(t *testing.T) {
	w := newWorld(t, config.ByKeys)
	w.must(w.good())
	w.older(refreshAfter + time.Second)
	w.cluster.Set(func() {
		w.cluster.Instead = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true }
	})
	before, begin := len(w.cluster.Requests()), time.Now()
	for range 50 {
		w.must(w.good())
		w.settled()
	}
	if n, most := len(w.cluster.Requests())-before, 2+int(time.Since(begin)/fetchEvery); n == 0 || n > most {
		t.Errorf("%d requests by 50 exchanges", n)
	}
	w.change(func(s *keySet) { s.tried = s.tried.Add(-fetchEvery) })
	w.cluster.Set(func() { w.cluster.Instead = nil })
	w.must(w.good())
	w.settled()
	if age := w.keySet().age(); age > refreshAfter {
		t.Errorf("not tried again: keys of %v ago", age)
	}
}

// TestHostileServer: what an API server, or who is in its place, may answer. Each is refused in time,
// and nothing of it is kept.
func TestHostileServer(t *testing.T) {
	other := clustertest.New(t, kubeadm)
	t.Cleanup(func() {
		if n := len(other.Requests()); n != 0 {
			t.Errorf("another server was asked %d times", n)
		}
	})
	keys := func(f func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/openid/v1/jwks" {
				f(w, r)
			}
			return r.URL.Path == "/openid/v1/jwks"
		}
	}
	body := func(text string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat(" ", 4096))); err != nil {
				return
			}
		}
	}
	configuration := func(issuer, uri string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer, uri)
			return true
		}
	}
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for _, c := range []struct {
		name    string
		instead func(http.ResponseWriter, *http.Request) bool
		want    string
	}{
		{"a key set of 10 MB", keys(body(`{"keys":[` + strings.Repeat(`{"kty":"oct","kid":"x","k":"AA"},`, 300_000) + `{}]}`)), "server_error"},
		{"an answer without end", keys(endless), "server_error"},
		{"10,000 keys", keys(body(`{"keys":[` + strings.Repeat(`{"kty":"oct"},`, 10_000) + `{}]}`)), "server_error"},
		{"an answer that does not come", keys(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), "temporarily_unavailable"},
		{"an answer that stops", keys(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"keys":[`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}), "temporarily_unavailable"},
		{"an answer that breaks off", keys(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "temporarily_unavailable"},
		{"a header of 1 MB", keys(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }), "server_error"},
		{"no JSON", keys(body("<html>")), "server_error"},
		{"no keys", keys(body(`{"keys":[]}`)), "server_error"},
		{"keys null", keys(body(`null`)), "server_error"},
		{"a secret as a key", keys(body(`{"keys":[{"kty":"oct","kid":"first","k":"c2VjcmV0"}]}`)), "server_error"},
		{"a redirect", keys(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/openid/v1/jwks", http.StatusFound)
		}), "server_error"},
		{"a redirect of the discovery", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}, "server_error"},
		{"another issuer", configuration("https://evil.example", "https://x/openid/v1/jwks"), "server_error"},
		{"keys in clear", configuration(kubeadm, "http://x/openid/v1/jwks"), "server_error"},
		{"keys in a file", configuration(kubeadm, "file:///etc/passwd"), "server_error"},
		{"401", keys(status(401)), "server_error"},
		{"403", keys(status(403)), "server_error"},
		{"404", keys(status(404)), "server_error"},
		{"429", keys(status(429)), "temporarily_unavailable"},
		{"500", keys(status(500)), "temporarily_unavailable"},
		{"503", keys(status(503)), "temporarily_unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, config.ByKeys)
			w.settled()
			w.change(func(s *keySet) { s.fetched, s.keys = time.Time{}, nil })
			w.cluster.Set(func() { w.cluster.Instead = c.instead })
			_, bad := w.exchange(w.cluster.Token(w.good()), allowed)
			if !strings.HasPrefix(bad, c.want+": ") || strings.Contains(bad, "127.0.0.1") || strings.Contains(bad, "evil") {
				t.Errorf("%q", bad)
			}
			w.settled()
			w.cluster.Set(func() { w.cluster.Instead = nil })
			w.must(w.good())
		})
	}
}

// TestKeysBeside: an issuer that is reached by its own URL has its keys at its own host; the address
// that an API server names may be one for others.
func TestKeysBeside(t *testing.T) {
	for _, c := range []struct {
		url, address, want string
		pinned             bool
	}{
		{"https://10.0.0.1:6443", "https://172.18.0.2:6443/openid/v1/jwks", "https://10.0.0.1:6443/openid/v1/jwks", true},
		{"https://proxy/clusters/a", "https://172.18.0.2:6443/openid/v1/jwks?x=y", "https://proxy/clusters/a/openid/v1/jwks?x=y", true},
		{"https://oidc.example.com/id/A", "https://oidc.example.com/id/A/keys", "https://oidc.example.com/id/A/keys", false},
		{"https://oidc.example.com/id/A", "https://evil.example/keys", "", false},
		{"https://oidc.example.com", "https://oidc.example.com:444/keys", "", false},
		{"https://oidc.example.com", "https://oidc.example.com@evil.example/keys", "", false},
		{"https://oidc.example.com", "http://oidc.example.com/keys", "", false},
		{"https://10.0.0.1:6443", "/openid/v1/jwks", "", true},
		{"https://10.0.0.1:6443", "https://x/..%2f..", "https://10.0.0.1:6443/..%2f..", true},
	} {
		got, err := (&server{url: c.url, pinned: c.pinned}).beside(c.address)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s of %s: %q, %v", c.address, c.url, got, err)
		}
	}
}

// TestParseKeys: keys that can't sign a token here are left out, and one that is odd takes no other
// with it.
func TestParseKeys(t *testing.T) {
	good := clustertest.NewKey(t, "ES256", "good")
	w := newWorld(t, config.ByKeys)
	w.cluster.Set(func() { w.cluster.Keys = []clustertest.Key{good} })
	set, err := json.Marshal(w.cluster.KeySet())
	if err != nil {
		t.Fatal(err)
	}
	one := strings.TrimSuffix(strings.TrimPrefix(string(set), `{"keys":[`), "]}")
	for _, odd := range []string{`{"kty":"oct","kid":"good","k":"AAAA"}`, `{}`, `null`, `3`, `{"kty":"RSA","kid":"small","n":"uw","e":"AQAB"}`,
		strings.Replace(one, `"use":"sig"`, `"use":"enc"`, 1), strings.Replace(one, `"ES256"`, `"HS256"`, 1),
		strings.Replace(one, `"kid":"good"`, `"kid":""`, 1), strings.Replace(one, `"crv":"P-256"`, `"crv":"P-384"`, 1)} {
		keys, err := parseKeys([]byte(`{"keys":[` + odd + "," + one + "]}"))
		if err != nil || len(keys) != 1 || len(keys["good"]) != 1 || !slices.Equal(keys["good"][0].algorithms, []string{"ES256"}) {
			t.Errorf("%s: %v, %v", odd, keys, err)
		}
		if keys, err := parseKeys([]byte(`{"keys":[` + odd + "]}")); err == nil {
			t.Errorf("%s alone: %v", odd, keys)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add(`{"keys":[{"kty":"EC","kid":"a","crv":"P-256","x":"AA","y":"AA"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parseKeys([]byte(text))
		if (err == nil) != (len(keys) > 0) {
			t.Fatal(keys, err)
		}
		for kid, same := range keys {
			for _, k := range same {
				if kid == "" || len(k.algorithms) == 0 || slices.Contains(k.algorithms, "HS256") {
					t.Fatal(kid, k)
				}
			}
		}
	})
}

// TestFiles: the CA's file is read again when it changes, and one that is bad is no reason to trust
// another.
func TestFiles(t *testing.T) {
	w := newWorld(t, config.ByKeys)
	s := w.settings
	for name, ca := range map[string]string{"no certificate": w.cluster.File("x"), "none": "/nowhere/ca.crt", "a directory": t.TempDir()} {
		s.CA = ca
		one := newServer(s, w.opts.Log)
		if _, err := one.get(t.Context(), one.url+"/openid/v1/jwks"); err == nil || away(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.CA = w.cluster.File("")
	one := newServer(s, w.opts.Log)
	if _, err := one.get(t.Context(), one.url+"/openid/v1/jwks"); err == nil || away(err) {
		t.Errorf("an empty file: %v", err)
	}
	text, err := os.ReadFile(w.cluster.CA())
	if err == nil {
		err = os.WriteFile(s.CA, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.get(t.Context(), one.url+"/openid/v1/jwks"); err != nil {
		t.Errorf("the right one: %v", err)
	}
	s.CA = ""
	if _, err := newServer(s, w.opts.Log).get(t.Context(), w.cluster.URL+"/openid/v1/jwks"); err == nil || away(err) {
		t.Errorf("a certificate that nobody knows: %v", err)
	}
	if away(errors.New("x")) {
		t.Error("any error is a server that is away")
	}
}
