package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func aPod() *Pod {
	return &Pod{Cluster: "prod", Namespace: "agents", ServiceAccount: "runner", ServiceAccountUID: "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
		Name: "runner-0.x", UID: "6fa459ea-ee8a-3ca4-894e-db77e160355e"}
}

// TestPod: a token of a pod is one of ours that no sandbox is asked about, and is for nobody but
// its audience.
func TestPod(t *testing.T) {
	k := openKeys(t)
	i := Issuer{Keys: k, GatewayID: "g1", URL: "https://tokens.example.org", TrustDomain: "example.org"}
	raw, minted, err := i.Mint(Request{Pod: aPod(), TTL: time.Minute, Now: noon, Audience: "a"})
	if err != nil {
		t.Fatal(err)
	}
	v := Verifier{Keys: k, GatewayID: "g1", URL: i.URL, TrustDomain: i.TrustDomain, Audiences: []string{"a"},
		Exists: func(id string) bool { t.Errorf("the sandbox %q is asked for", id); return false }}
	got, err := v.Verify(string(raw), noon)
	if err != nil || !reflect.DeepEqual(got, minted) {
		t.Fatalf("%v: verified %+v, minted %+v", err, got, minted)
	}
	if got.Algorithm != ES256 || got.Subject != "spiffe://example.org/kubernetes/prod/agents/runner/runner-0.x" || got.SandboxID != "" ||
		*got.About.Pod != *aPod() || got.TokenID == "" || got.ExpiresAt.After(noon.Add(time.Minute)) {
		t.Errorf("%+v", got)
	}
	payload, _, err := object(strings.Split(string(raw), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	if text := string(payload); strings.Contains(text, "sandbox_id") || strings.Contains(text, `"id"`) ||
		!strings.Contains(text, `"openshell":{"kubernetes":{"cluster":"prod","namespace":"agents","serviceAccount":"runner",`) {
		t.Errorf("%s", text)
	}
	v.Audiences = nil
	if _, err := v.Verify(string(raw), noon); !errors.Is(err, ErrAudience) {
		t.Errorf("taken for one for the gateway: %v", err)
	}
	if err := k.Want(noon, RS256); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate(noon, time.Hour, 0); err != nil {
		t.Fatal(err)
	}
	if err := k.Retire(minted.KeyID, noon); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(string(raw), noon); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("its key was retired: %v", err)
	}
}

// TestPodMintRefuses: nothing else is mixed with a pod, and nothing is in its subject that could
// lead elsewhere.
func TestPodMintRefuses(t *testing.T) {
	i := Issuer{Keys: openKeys(t), GatewayID: "g1"}
	good := Request{Pod: aPod(), TTL: time.Minute, Now: noon, Audience: "a"}
	for name, change := range map[string]func(*Request){
		"no audience":         func(r *Request) { r.Audience = "" },
		"the gateway":         func(r *Request) { r.Audience = "openshell-gateway:g1" },
		"another gateway":     func(r *Request) { r.Audience = "openshell-gateway:g2" },
		"a sandbox":           func(r *Request) { r.SandboxID = "s" },
		"a generation":        func(r *Request) { r.Generation = 1 },
		"an identity":         func(r *Request) { r.Identity = "ci" },
		"claims":              func(r *Request) { r.Claims = map[string]string{"a": "b"} },
		"a cluster of dots":   func(r *Request) { r.Pod.Cluster = ".." },
		"no cluster":          func(r *Request) { r.Pod.Cluster = "" },
		"a slash":             func(r *Request) { r.Pod.Namespace = "a/b" },
		"a dot in the label":  func(r *Request) { r.Pod.Namespace = "a.b" },
		"a long label":        func(r *Request) { r.Pod.Namespace = strings.Repeat("a", 64) },
		"upper case":          func(r *Request) { r.Pod.ServiceAccount = "Runner" },
		"an empty label":      func(r *Request) { r.Pod.ServiceAccount = "a..b" },
		"a pod of two dots":   func(r *Request) { r.Pod.Name = ".." },
		"a percent sign":      func(r *Request) { r.Pod.Name = "a%2fb" },
		"a dash at the end":   func(r *Request) { r.Pod.Name = "a-" },
		"a long name":         func(r *Request) { r.Pod.Name = strings.Repeat("a", 254) },
		"a pod without a uid": func(r *Request) { r.Pod.UID = "" },
		"a uid with a quote":  func(r *Request) { r.Pod.ServiceAccountUID = `"` },
	} {
		r := good
		r.Pod = aPod()
		change(&r)
		if raw, _, err := i.Mint(r); err == nil || raw != "" {
			t.Errorf("%s: minted", name)
		}
	}
	if _, _, err := i.Mint(good); err != nil {
		t.Error(err)
	}
}

// TestPodVerifyRefuses: claims that Mint does not write together are refused, though they are
// signed.
func TestPodVerifyRefuses(t *testing.T) {
	k := openKeys(t)
	if err := k.Want(noon, ES256); err != nil {
		t.Fatal(err)
	}
	pod, err := json.Marshal(aPod())
	if err != nil {
		t.Fatal(err)
	}
	header := fmt.Sprintf(`{"alg":"ES256","kid":%q,"typ":"JWT"}`, k.signingID(ES256))
	good := fmt.Sprintf(`{"iss":"openshell-gateway:g1","aud":"a","sub":"spiffe://openshell/kubernetes/prod/agents/runner/runner-0.x",`+
		`"iat":%d,"nbf":%d,"exp":%d,"jti":"j","openshell":{"kubernetes":%s}}`, noon.Unix(), noon.Unix(), noon.Unix()+60, pod)
	v := verifier(k)
	v.AnyAudience = true
	for _, c := range []struct {
		old, new string
		want     error
	}{
		{"", "", nil},
		{`"openshell":{"kubernetes":`, `"sandbox_id":"s","openshell":{"kubernetes":`, ErrSubject},
		{`"openshell":{"kubernetes":`, `"openshell":{"id":"s","kubernetes":`, ErrSubject},
		{`"openshell":{"kubernetes":`, `"own":"x","openshell":{"kubernetes":`, ErrSubject},
		{`"jti":"j"`, `"jti":"j","gen":1`, ErrSubject},
		{`kubernetes/prod`, `kubernetes/other`, ErrSubject},
		{`kubernetes/prod/agents`, `kubernetes/prod/agents/../agents`, ErrSubject},
		{"/kubernetes/prod/agents/runner/runner-0.x", "/sandbox/" + sandboxID, ErrSubject},
		{`"namespace":"agents"`, `"namespace":"a/b"`, ErrSubject},
		{`"aud":"a"`, `"aud":"openshell-gateway:g2"`, ErrSubject},
		{`"aud":"a"`, `"aud":"openshell-gateway:g1"`, ErrMissingClaim},
		{`{"kubernetes":` + string(pod) + `}`, `{"kubernetes":null}`, ErrMissingClaim},
		{`{"kubernetes":` + string(pod) + `}`, `{"kubernetes":"x"}`, ErrMalformed},
	} {
		raw := forge(k, ES256, header, strings.Replace(good, c.old, c.new, 1))
		if _, err := v.Verify(raw, noon); !errors.Is(err, c.want) {
			t.Errorf("%s in place of %s: %v, not %v", c.new, c.old, err, c.want)
		}
	}
}
