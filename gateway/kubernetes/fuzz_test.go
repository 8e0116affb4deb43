package kubernetes

import (
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/config"
	"openshell-vm/gateway/kubernetes/clustertest"
)

// FuzzToken signs any header and claims with a cluster's own key. Whatever they are, what is given
// is for a pod that may have it, and does not outlive the token.
func FuzzToken(f *testing.F) {
	w := newWorld(f, config.ByKeys)
	key := clustertest.NewKey(f, "ES256", "k")
	w.cluster.Set(func() { w.cluster.Keys = []clustertest.Key{key} })
	w.must(w.good())
	const claims = `{"iss":"` + kubeadm + `","aud":["` + ours + `"],"sub":"system:serviceaccount:agents:runner","exp":9999999999,` +
		`"kubernetes.io":{"namespace":"agents","pod":{"name":"p","uid":"u"},"serviceaccount":{"name":"runner","uid":"v"}}}`
	f.Add(`{"alg":"ES256","kid":"k"}`, claims)
	f.Add(`{"alg":"none","kid":"k"}`, claims)
	f.Add(`{"alg":"ES256","kid":"k","jku":"https://evil.example"}`, `{"exp":1}`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		raw := key.Sign(t, header, claims)
		made, err := w.Exchange(t.Context(), raw, allowed)
		if err != nil {
			return
		}
		p := made.Claims.About.Pod
		if p.Check() != nil || p.Namespace != "agents" && p.Namespace != "ci" || p.Namespace == "agents" && p.ServiceAccount != "runner" ||
			made.Claims.Audience != allowed || !strings.Contains(claims, "runner") && p.ServiceAccount == "runner" {
			t.Errorf("%s: %+v", claims, p)
		}
		taken, bad := parse(raw)
		if bad != nil || made.Claims.ExpiresAt.After(taken.expires()) || made.Claims.ExpiresAt.After(time.Now().Add(MaxLife)) {
			t.Errorf("%s: until %v", claims, made.Claims.ExpiresAt)
		}
	})
}

// FuzzParse takes any text apart, and judges it.
func FuzzParse(f *testing.F) {
	f.Add("e30.e30.AA")
	f.Fuzz(func(t *testing.T, raw string) {
		if parsed, bad := parse(raw); bad == nil {
			if pod, bad := parsed.judge("c", time.Now()); bad == nil && pod.Check() != nil {
				t.Errorf("%q: %+v", raw, pod)
			}
			if id := parsed.id(); len(id) > maxJTI {
				t.Errorf("%q: %q", raw, id)
			}
		}
	})
}
