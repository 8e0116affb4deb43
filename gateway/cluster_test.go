package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/kubernetes/clustertest"
)

// TestCluster: a pod exchanges its ServiceAccount's token at the listener. What it gets is one of
// ours that no sandbox stands behind: whoami does not take it, and introspection knows it.
func TestCluster(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	cluster := clustertest.New(t, "https://kubernetes.default.svc.cluster.local")
	addr := freeAddress(t)
	file := "issuer = \"https://tokens.example.org\"\npublish-for = \"0s\"\ntrust-domain = \"example.org\"\nlisten = %q\n"
	w.configure(file, addr)
	w.run()
	w.create(api.CreateRequest{Name: "box"})
	w.start("box")
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	afar := asker{w, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
	w.eventually("it listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	theirs := cluster.Token(cluster.Claims("https://tokens.example.org"))
	if status, _ := afar.exchange(theirs, "https://api.example.com"); status != 404 {
		t.Errorf("without a cluster: %d", status)
	}
	ca := cluster.CA()
	allow := func(audience string) {
		t.Helper()
		w.configure(file+"[clusters.prod]\nissuer = %q\nserver = %q\nca = %q\n[[clusters.prod.allow]]\nnamespace = \"agents\"\n"+
			"service-account = \"runner\"\naudiences = [%q]\n", addr, cluster.Issuer, cluster.URL, ca, audience)
		_, err := w.client.Config.Reload(t.Context())
		w.must(err)
	}
	allow("https://api.example.com")

	status, got := afar.exchange(theirs, "https://api.example.com")
	raw, _ := got["access_token"].(string)
	if status != 200 || raw == "" {
		t.Fatalf("%d, %v", status, got)
	}
	if status, challenge, _ := afar.whoami(raw); status != 401 || !strings.Contains(challenge, "another audience") {
		t.Errorf("whoami: %d, %q", status, challenge)
	}
	own := w.tokenOf("box")
	status, _, who := afar.send("POST", "/v1/introspect", own, url.Values{"token": {raw}})
	if status != 200 || who["active"] != true || who["aud"] != "https://api.example.com" || who["iss"] != "https://tokens.example.org" ||
		who["sub"] != "spiffe://example.org/kubernetes/prod/agents/runner/runner-0" || who["sandbox_id"] != nil {
		t.Errorf("introspection: %d, %v", status, who)
	}
	if status, got := afar.exchange(theirs, "https://other.example.com"); status != 400 || got["error"] != "invalid_target" {
		t.Errorf("another audience: %d, %v", status, got)
	}
	if status, got := afar.exchange(own, "https://api.example.com"); status != 400 || got["error"] != "invalid_request" {
		t.Errorf("a sandbox's token: %d, %v", status, got)
	}
	if status, got := w.asker("box").exchange(theirs, "https://api.example.com"); status != 400 || got["error"] != "invalid_request" {
		t.Errorf("a pod's token by a sandbox's socket: %d, %v", status, got)
	}

	verified, err := w.client.Tokens.Verify(t.Context(), api.VerifyRequest{Token: raw, Audience: "https://api.example.com"})
	if err != nil || !verified.Valid || verified.Subject != who["sub"] || verified.SandboxID != "" {
		t.Errorf("token verify: %+v, %v", verified, err)
	}
	active := func() any {
		_, _, body := afar.send("POST", "/v1/introspect", w.tokenOf("box"), url.Values{"token": {raw}})
		return body["active"]
	}
	allow("https://other.example.com")
	if active() != false {
		t.Error("what was allowed was taken back, and the token is good")
	}
	allow("https://api.example.com")
	if active() != true {
		t.Error("what was allowed again")
	}

	var lines []byte
	w.must(w.gateway.roster.Audit.Copy(t.Context(), false, func(more []byte) error { lines = append(lines, more...); return nil }))
	for _, want := range []string{fmt.Sprintf(`"what":"exchange","sub":"%v","aud":"https://api.example.com","jti":"%v"`, who["sub"], who["jti"]),
		`"kubernetes":{"cluster":"prod","namespace":"agents","serviceAccount":"runner","pod":"runner-0","jti":"06e2b3a2-1c1c-4d2d-9a52-0b8b6a0a3c0f"}`,
		"invalid_target"} {
		if !strings.Contains(string(lines), want) {
			t.Errorf("the audit log has no %s:\n%s", want, lines)
		}
	}
	if text := string(lines); strings.Contains(text, strings.Split(theirs, ".")[2]) || strings.Contains(text, strings.Split(raw, ".")[2]) {
		t.Error("the audit log has a token")
	}
	w.eventually("status tells of the cluster", func() bool {
		facts := w.gateway.issuerFacts()
		for _, f := range facts {
			if f.Name == "Cluster prod" && strings.HasPrefix(f.Value, "its keys: 1, fetched ") {
				return true
			}
		}
		return false
	})
	cluster.Close()
	if status, _ := afar.exchange(theirs, "https://api.example.com"); status != 200 {
		t.Errorf("its API server is away, and its keys are known: %d", status)
	}

	old := w.gateway.keeper.Keys()
	_, err = w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	for _, key := range old {
		_, _ = w.client.Keys.Retire(t.Context(), key.ID, true)
	}
	if active() != false {
		t.Error("its key was retired, and the token is good")
	}
}

// TestClusterRotation: a rotation takes no token back that a pod got, though nothing of this process
// knows of it.
func TestClusterRotation(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	cluster := clustertest.New(t, "https://kubernetes.default.svc.cluster.local")
	w.configure("issuer = \"https://tokens.example.org\"\npublish-for = \"0s\"\n[clusters.prod]\nissuer = %q\nserver = %q\nca = %q\n"+
		"[[clusters.prod.allow]]\nnamespace = \"agents\"\nservice-account = \"runner\"\naudiences = [\"a\"]\n", cluster.Issuer, cluster.URL, cluster.CA())
	w.run()
	made, err := w.gateway.clusters.Exchange(t.Context(), cluster.Token(cluster.Claims("https://tokens.example.org")), "a")
	w.must(err)
	w.stop()
	w.run()
	_, err = w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	verified, err := w.client.Tokens.Verify(t.Context(), api.VerifyRequest{Token: string(made.Raw), Audience: "a"})
	if err != nil || !verified.Valid {
		t.Errorf("after a restart and a rotation: %+v, %v", verified, err)
	}
}

// TestClustersInOrder: status names the clusters in the same order each time.
func TestClustersInOrder(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	text := ""
	for name := range strings.SplitSeq("h b f a d g c e", " ") {
		text += fmt.Sprintf("[clusters.%s]\nissuer = \"https://127.0.0.1:1/%[1]s\"\naudience = \"a\"\n", name)
	}
	w.configure("%s", text)
	g := w.run()
	var names []string
	for _, f := range g.issuerFacts() {
		if name, is := strings.CutPrefix(f.Name, "Cluster "); is {
			names = append(names, name)
		}
	}
	if got := strings.Join(names, " "); got != "a b c d e f g h" {
		t.Error(got)
	}
}
