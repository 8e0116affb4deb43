package kubernetes

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"openshell-vm/gateway/config"
	"openshell-vm/gateway/kubernetes/clustertest"
)

var checks = []string{config.ByKeys, config.ByReview}

// TestExchange: what is given is ours, for the pod, and lives no longer than what was taken.
func TestExchange(t *testing.T) {
	for _, check := range checks {
		w := newWorld(t, check)
		ids := map[string]bool{}
		for range 3 {
			made := w.must(w.good())
			c, err := w.verifier.Verify(string(made.Raw), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if c.Subject != "spiffe://example.org/kubernetes/prod/agents/runner/runner-0" || c.Audience != allowed || c.Algorithm != "ES256" ||
				c.Issuer != ours || c.About.Pod.UID != "u-pod" || c.About.Pod.ServiceAccountUID != "u-sa" || c.TokenID == "" || ids[c.TokenID] {
				t.Errorf("%s: %+v, %+v", check, c, c.About.Pod)
			}
			if life := c.ExpiresAt.Sub(c.IssuedAt); life != MaxLife {
				t.Errorf("%s: it lives for %v", check, life)
			}
			if p := made.Pod; p.Cluster != "prod" || p.Namespace != "agents" || p.ServiceAccount != "runner" || p.Name != "runner-0" || p.TokenID == "" {
				t.Errorf("%s: %+v", check, p)
			}
			ids[c.TokenID] = true
		}
		end := time.Now().Unix() + 60
		if made := w.must(clustertest.With(w.good(), map[string]any{"exp": end})); made.Claims.ExpiresAt.Unix() > end ||
			made.Claims.ExpiresAt.Unix() < end-3 || made.Expires != made.Claims.ExpiresAt {
			t.Errorf("%s: %v after %v", check, made.Claims.ExpiresAt, time.Unix(end, 0))
		}
		made, bad := w.exchange(w.cluster.Token(w.good()), "sts.amazonaws.com")
		if bad != "" || made.Claims.Algorithm != "RS256" || made.Claims.TokenID != "" {
			t.Errorf("%s: %s, %s", check, bad, made.Claims.Algorithm)
		}
		for name, claims := range map[string]map[string]any{
			"one audience as a string": {"aud": ours},
			"two audiences":            {"aud": []string{"x", ours}},
			"no jti":                   {"jti": nil},
			"a little ahead":           {"nbf": time.Now().Unix() + 20, "iat": time.Now().Unix() + 20},
			"another ServiceAccount": {"sub": "system:serviceaccount:ci:a.b", "kubernetes.io": map[string]any{"namespace": "ci",
				"pod": map[string]any{"name": "p", "uid": "u"}, "serviceaccount": map[string]any{"name": "a.b", "uid": "v"}}},
		} {
			if check == config.ByReview && name == "a little ahead" {
				continue // the stand-in takes none of those
			}
			if _, bad := w.exchange(w.cluster.Token(clustertest.With(w.good(), claims)), allowed); bad != "" {
				t.Errorf("%s: %s: %s", check, name, bad)
			}
		}
	}
}

// part is kubernetes.io with a change.
func part(change func(k map[string]any)) map[string]any {
	k := map[string]any{"namespace": "agents", "pod": map[string]any{"name": "runner-0", "uid": "u-pod"},
		"serviceaccount": map[string]any{"name": "runner", "uid": "u-sa"}}
	change(k)
	return map[string]any{"kubernetes.io": k}
}

// TestRefused: each way in which a token that the cluster itself signed may not fit is told.
func TestRefused(t *testing.T) {
	now := time.Now().Unix()
	for _, check := range checks {
		w := newWorld(t, check)
		for _, c := range []struct {
			name   string
			claims map[string]any
			want   string
		}{
			{"another issuer", map[string]any{"iss": "https://evil.example"}, "no cluster"},
			{"our issuer", map[string]any{"iss": ours}, "no cluster"},
			{"iss with a slash", map[string]any{"iss": kubeadm + "/"}, "no cluster"},
			{"no iss", map[string]any{"iss": nil}, "no cluster"},
			{"iss an array", map[string]any{"iss": []string{kubeadm}}, "form"},
			{"another audience", map[string]any{"aud": []string{kubeadm}}, "another audience"},
			{"no aud", map[string]any{"aud": nil}, "another audience"},
			{"aud empty", map[string]any{"aud": []string{}}, "another audience"},
			{"aud an object", map[string]any{"aud": map[string]any{ours: 1}}, "form"},
			{"aud in an array in an array", map[string]any{"aud": []any{[]string{ours}}}, "form"},
			{"expired", map[string]any{"exp": now - 1}, "it has expired"},
			{"expires in a moment", map[string]any{"exp": now + 3}, "in a moment"},
			{"no exp", map[string]any{"exp": nil}, "never expires"},
			{"exp a string", map[string]any{"exp": "4102444800"}, "form"},
			{"exp with a fraction", map[string]any{"exp": float64(now) + 99.5}, "form"},
			{"exp beyond all", map[string]any{"exp": int64(1) << 62}, "impossible"},
			{"exp negative", map[string]any{"exp": -5}, "impossible"},
			{"exp in an array", map[string]any{"exp": []int64{now + 60}}, "form"},
			{"nbf a second past the leeway", map[string]any{"nbf": now + 90}, "future"},
			{"iat far ahead", map[string]any{"iat": now + 900}, "future"},
			{"nbf a string", map[string]any{"nbf": "0"}, "form"},
			{"no kubernetes.io", map[string]any{"kubernetes.io": nil}, "no namespace"},
			{"kubernetes.io a string", map[string]any{"kubernetes.io": "x"}, "form"},
			{"no namespace", part(func(k map[string]any) { delete(k, "namespace") }), "no namespace"},
			{"no ServiceAccount", part(func(k map[string]any) { delete(k, "serviceaccount") }), "no ServiceAccount"},
			{"no pod", part(func(k map[string]any) { delete(k, "pod") }), "not bound to a pod"},
			{"a secret in place of a pod", part(func(k map[string]any) {
				delete(k, "pod")
				k["secret"] = map[string]any{"name": "s", "uid": "u"}
			}), "not bound to a pod"},
			{"pod null", part(func(k map[string]any) { k["pod"] = nil }), "not bound to a pod"},
			{"a pod without a name", part(func(k map[string]any) { k["pod"] = map[string]any{"uid": "u"} }), "the pod's name"},
			{"a pod without a uid", part(func(k map[string]any) { k["pod"] = map[string]any{"name": "p"} }), "no uid"},
			{"a pod that leads elsewhere", part(func(k map[string]any) { k["pod"] = map[string]any{"name": "../x", "uid": "u"} }), "the pod's name"},
			{"Pod in another case", part(func(k map[string]any) {
				delete(k, "pod")
				k["Pod"] = map[string]any{"name": "p", "uid": "u"}
			}), "not bound to a pod"},
			{"another namespace than sub", part(func(k map[string]any) { k["namespace"] = "ci" }), "subject is not"},
			{"another ServiceAccount than sub", part(func(k map[string]any) {
				k["serviceaccount"] = map[string]any{"name": "admin", "uid": "u-sa"}
			}), "subject is not"},
			{"sub of a user", map[string]any{"sub": "admin"}, "subject is not"},
			{"no sub", map[string]any{"sub": nil}, "subject is not"},
		} {
			if _, bad := w.exchange(w.cluster.Token(clustertest.With(w.good(), c.claims)), allowed); !strings.HasPrefix(bad, badToken) ||
				!strings.Contains(bad, c.want) {
				t.Errorf("%s: %s: %q", check, c.name, bad)
			}
		}
		for _, c := range []struct{ namespace, account, audience, want string }{
			{"agents", "runner", notFor, "invalid_target: no token for this audience"},
			{"agents", "runner", allowed + "/", "invalid_target: no token for this audience"},
			{"agents", "runner", "openshell-gateway:g1", "invalid_target: a token for a gateway"},
			{"agents", "runner", "openshell-gateway:other", "invalid_target: a token for a gateway"},
			{"agents", "other", allowed, "invalid_request: nothing was allowed"},
			{"kube-system", "runner", allowed, "invalid_request: nothing was allowed"},
			{"ci", "any", notFor, "invalid_target: no token for this audience"},
		} {
			claims := part(func(k map[string]any) {
				k["namespace"], k["serviceaccount"] = c.namespace, map[string]any{"name": c.account, "uid": "u"}
			})
			claims["sub"] = "system:serviceaccount:" + c.namespace + ":" + c.account
			if _, bad := w.exchange(w.cluster.Token(clustertest.With(w.good(), claims)), c.audience); !strings.HasPrefix(bad, c.want) {
				t.Errorf("%s: %v: %q", check, c, bad)
			}
		}
		w.must(w.good())
	}
}

// TestForged: what the cluster did not sign is refused, also with all that is public.
func TestForged(t *testing.T) {
	for _, check := range checks {
		w := newWorld(t, check)
		elliptic, first := w.cluster.Keys[0], clustertest.NewKey(t, "RS256", "rsa")
		other := clustertest.NewKey(t, "RS256", "rsa")
		w.cluster.Set(func() { w.cluster.Keys = append(w.cluster.Keys, first) })
		good := w.cluster.Token(w.good())
		if _, bad := w.exchange(good, allowed); bad != "" {
			t.Fatal(bad)
		}
		header := map[string]any{"alg": "RS256", "kid": "rsa"}
		sign := func(k clustertest.Key, changes map[string]any) string {
			return k.Sign(t, clustertest.With(header, changes), w.good())
		}
		parts := strings.Split(good, ".")
		claims := `{"iss":"` + kubeadm + `","aud":"` + ours + `","exp":9999999999,`
		for _, c := range []struct{ name, raw string }{
			{"another cluster's key with the same id", sign(other, nil)},
			{"a key that is not known", sign(other, map[string]any{"kid": "third"})},
			{"alg none", clustertest.Key{}.Unsigned(t, clustertest.With(header, map[string]any{"alg": "none"}), w.good())},
			{"alg none with a signature", clustertest.Key{}.Unsigned(t, clustertest.With(header, map[string]any{"alg": "none"}), w.good()) + parts[2]},
			{"alg NONE", clustertest.Key{}.Unsigned(t, clustertest.With(header, map[string]any{"alg": "NONE"}), w.good())},
			{"HS256 with the public key", first.SignHS256(t, "rsa", w.good())},
			{"HS256 with the elliptic public key", elliptic.SignHS256(t, "first", w.good())},
			{"no signature", parts[0] + "." + parts[1] + "."},
			{"the algorithm of another kind of key", sign(elliptic, map[string]any{"alg": "ES256"})},
			{"RS256 by an elliptic key", elliptic.Sign(t, map[string]any{"alg": "RS256", "kid": "first"}, w.good())},
			{"RS512 by a key for RS256", clustertest.Key{Algorithm: "RS512", ID: "rsa", Private: first.Private}.Sign(t,
				map[string]any{"alg": "RS512", "kid": "rsa"}, w.good())},
			{"PS256", clustertest.Key{Algorithm: "PS256", ID: "rsa", Private: first.Private}.Sign(t,
				map[string]any{"alg": "PS256", "kid": "rsa"}, w.good())},
			{"other claims", parts[0] + "." + strings.Split(w.cluster.Token(clustertest.With(w.good(), map[string]any{"jti": "x"})), ".")[1] +
				"." + parts[2]},
			{"kid empty", sign(first, map[string]any{"kid": ""})},
			{"no kid", sign(first, map[string]any{"kid": nil})},
			{"kid a path", sign(first, map[string]any{"kid": "../../etc/passwd"})},
			{"kid an address", sign(first, map[string]any{"kid": "https://evil.example/key"})},
			{"kid a number", sign(first, map[string]any{"kid": 1})},
			{"kid endless", sign(first, map[string]any{"kid": strings.Repeat("k", 300)})},
			{"kid twice", first.Sign(t, `{"alg":"RS256","kid":"rsa","kid":"rsa"}`, w.good())},
			{"alg twice", first.Sign(t, `{"alg":"none","alg":"RS256","kid":"rsa"}`, w.good())},
			{"ALG in another case", first.Sign(t, `{"ALG":"RS256","kid":"rsa"}`, w.good())},
			{"crit", sign(first, map[string]any{"crit": []string{"exp"}})},
			{"a key in the header", sign(first, map[string]any{"jwk": map[string]any{"kty": "RSA"}})},
			{"the address of a certificate", sign(first, map[string]any{"x5u": "https://127.0.0.1/x"})},
			{"exp twice", first.Sign(t, header, claims+`"exp":1}`)},
			{"exp twice, escaped", first.Sign(t, header, claims+`"\u0065xp":1}`)},
			{"a namespace twice", first.Sign(t, header, claims+`"kubernetes.io":{"namespace":"agents","namespace":"ci"}}`)},
			{"something after the claims", first.Sign(t, header, claims+`"x":1}{}`)},
			{"claims null", first.Sign(t, header, "null")},
			{"claims an array", first.Sign(t, header, "[]")},
			{"claims that nest", first.Sign(t, header, claims+`"x":`+strings.Repeat("[", 4000)+strings.Repeat("]", 4000)+`}`)},
			{"oversized", first.Sign(t, header, clustertest.With(w.good(), map[string]any{"x": strings.Repeat("x", maxToken)}))},
			{"empty", ""}, {"two parts", "a.b"}, {"four parts", good + ".x"}, {"a line break", good + "\n"}, {"padding", good + "="},
		} {
			_, bad := w.exchange(c.raw, allowed)
			if !strings.HasPrefix(bad, badToken) && !strings.HasPrefix(bad, "temporarily_unavailable: the cluster's keys were fetched just now") {
				t.Errorf("%s: %s: %q", check, c.name, bad)
			}
		}
		w.must(w.good())
	}
}

// TestNothingIsFetched: no address in a token is asked, and none that looks like a cluster's.
func TestNothingIsFetched(t *testing.T) {
	var asked atomic.Int32
	trap := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(trap.Close)
	for _, check := range checks {
		w := newWorld(t, check)
		w.must(w.good())
		before := len(w.cluster.Requests())
		evil := clustertest.NewKey(t, "RS256", "evil")
		for _, c := range []struct{ header, claims map[string]any }{
			{nil, map[string]any{"iss": trap.URL}},
			{nil, map[string]any{"iss": kubeadm + "@" + strings.TrimPrefix(trap.URL, "https://")}},
			{nil, map[string]any{"iss": "file:///etc/passwd"}},
			{map[string]any{"jku": trap.URL + "/jwks"}, nil},
			{map[string]any{"x5u": trap.URL + "/cert"}, nil},
			{map[string]any{"jwk": map[string]any{"kty": "RSA", "x5u": trap.URL}}, nil},
			{map[string]any{"iss": trap.URL}, nil},
		} {
			header := clustertest.With(map[string]any{"alg": "RS256", "kid": trap.URL}, c.header)
			if _, bad := w.exchange(evil.Sign(t, header, clustertest.With(w.good(), c.claims)), allowed); !strings.HasPrefix(bad, badToken) {
				t.Errorf("%v: %q", c, bad)
			}
		}
		if asked.Load() != 0 {
			t.Fatal("a token led the gateway somewhere")
		}
		if now := len(w.cluster.Requests()); now != before {
			t.Errorf("%s: the cluster was asked %d times about tokens that are not its own", check, now-before)
		}
	}
}

// TestWhichCluster: issuer and audience say which of two clusters is asked; the other one never sees
// the token.
func TestWhichCluster(t *testing.T) {
	for _, check := range checks {
		w := newWorld(t, check)
		second := clustertest.New(t, kubeadm)
		settings := w.settingsOf(second, check)
		settings.Audience = ours + "/second"
		w.Configure(map[string]config.Cluster{"prod": w.settings, "second": settings})
		made, bad := w.exchange(second.Token(second.Claims(ours+"/second")), allowed)
		if bad != "" || made.Claims.Subject != "spiffe://example.org/kubernetes/second/agents/runner/runner-0" {
			t.Errorf("%s: %q, %+v", check, bad, made.Claims)
		}
		w.must(w.good())
		for name, raw := range map[string]string{
			"signed by the second for the first": second.Token(second.Claims(ours)),
			"signed by the first for the second": w.cluster.Token(w.cluster.Claims(ours + "/second")),
			"for both":                           second.Token(clustertest.With(second.Claims(""), map[string]any{"aud": []string{ours, ours + "/second"}})),
		} {
			if _, bad := w.exchange(raw, allowed); !strings.HasPrefix(bad, badToken) {
				t.Errorf("%s: %s: %q", check, name, bad)
			}
		}
		pod := *made.Claims.About.Pod
		if w.Withdrawn(pod, allowed) || !w.Withdrawn(pod, notFor) {
			t.Error("what is allowed counts as withdrawn, or the other way round")
		}
		w.Configure(map[string]config.Cluster{"second": settings})
		if _, bad := w.exchange(w.cluster.Token(w.good()), allowed); !strings.Contains(bad, "another audience") {
			t.Errorf("%s: a cluster that was taken away: %q", check, bad)
		}
	}
}
