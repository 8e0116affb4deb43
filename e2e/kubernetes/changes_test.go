//go:build e2e

package kubernetes_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"openshell-vm/gateway/api"
)

// TestDeleted: the API server knows at once that a pod or a ServiceAccount is gone, and its keys
// do not.
func TestDeleted(t *testing.T) {
	t.Parallel() // most of it is waiting for the API server to forget its own answers
	c := start(t, "prod")
	keys, review := c.gateway(t, "jwks"), c.gateway(t, "token-review")
	pod, replaced, orphan := c.pod("work", "runner", "deleted"), c.pod("work", "runner", "replaced"), c.pod("open", "doomed", "orphan")
	tokensOf := func(g *gateway) []string {
		return []string{c.token(pod, g.url), c.token(replaced, g.url), c.token(orphan, g.url)}
	}
	audiences := []string{model, model, other}
	byKeys, byReview := tokensOf(keys), tokensOf(review)
	for i, audience := range audiences {
		eventually(t, "the tokens are good", func() bool {
			return keys.exchange(byKeys[i], audience).Token != "" && review.exchange(byReview[i], audience).Token != ""
		})
	}
	c.remove(pod)
	c.remove(replaced)
	same := c.pod("work", "runner", "replaced")
	c.must(c.core.ServiceAccounts("open").Delete(t.Context(), "doomed", meta.DeleteOptions{}))
	for i, what := range []string{"a deleted pod", "a pod that was replaced by one of its name", "a deleted ServiceAccount"} {
		eventually(t, what+" is refused", func() bool { return review.exchange(byReview[i], audiences[i]).Token == "" })
		review.refuses(what, byReview[i], audiences[i], "invalid_request")
		if a := keys.exchange(byKeys[i], audiences[i]); a.Token == "" {
			t.Errorf("%s: keys can't know that: %+v", what, a)
		}
	}
	if !review.takes(c.token(same, review.url)) {
		t.Error("the new pod's token is refused")
	}
}

// TestRotatedKey: the cluster gets another signing key, and later drops the one before.
func TestRotatedKey(t *testing.T) {
	c := start(t, "other")
	keys, review := c.gateway(t, "jwks"), c.gateway(t, "token-review")
	both := []*gateway{keys, review}
	pod := c.pod("work", "runner", "rotated")
	before := map[*gateway]string{}
	for _, g := range both {
		before[g] = c.token(pod, g.url)
		g.begins("the first key", before[g])
	}
	first := c.keyFiles()
	c.newKey("second.pub")
	c.restart()
	after := map[*gateway]string{}
	for _, g := range both {
		c.credential(g.file("credential")) // a kubelet's is as new as that
		after[g] = c.token(pod, g.url)
		g.begins("the new key", after[g])
		g.begins("the key before", before[g])
	}
	for _, file := range first {
		c.must(os.Remove(file))
	}
	c.newKey("third.pub")
	c.restart()
	for _, g := range both {
		g.begins("the third key", c.token(pod, g.url)) // it is not known, so the keys are fetched anew
		g.refuses("a dropped key", before[g], model, "invalid_request")
		g.begins("the key that stayed", after[g])
	}
}

// newKey has the API server sign with a new key from its next start on. Those before verify.
func (c *cluster) newKey(public string) {
	c.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	c.must(err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	c.must(err)
	private := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	c.must(os.WriteFile(filepath.Join(c.dir, "keys", "signing.key"), pem.EncodeToMemory(private), 0o600))
	c.must(os.WriteFile(filepath.Join(c.dir, "keys", public), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
}

// keyFiles are the public keys that the API server verifies with.
func (c *cluster) keyFiles() []string {
	files, err := filepath.Glob(filepath.Join(c.dir, "keys", "*.pub"))
	c.must(err)
	return files
}

// TestAPIServerAway: one that hangs, and one that is not there. Who asks it is told to come again,
// in bounded time; known keys are good meanwhile; the gateway's own tokens are renewed all the time.
func TestAPIServerAway(t *testing.T) {
	t.Parallel() // most of it is waiting for renewals
	c := start(t, "other")
	keys, review := c.gateway(t, "jwks"), c.gateway(t, "token-review")
	both := []*gateway{keys, review}
	pod := c.pod("work", "runner", "patient")
	token := map[*gateway]string{}
	begins := func(what string) {
		t.Helper()
		for _, g := range both {
			g.begins(what, token[g])
		}
	}
	for _, g := range both {
		token[g] = c.token(pod, g.url)
		g.run("share", "create", "agent", "--ttl", "16s")
	}
	begins("before")
	away := func(what string) {
		t.Helper()
		renewals := map[*gateway]uint64{keys: keys.renewals("agent"), review: review.renewals("agent")}
		if a := keys.exchange(token[keys], model); a.Token == "" {
			t.Errorf("%s: known keys are not good: %+v", what, a)
		}
		began := time.Now()
		review.refuses(what, token[review], model, "temporarily_unavailable")
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%s: that took %v", what, took)
		}
		for _, g := range both {
			eventually(t, "the gateway's own tokens are renewed", func() bool { return g.renewals("agent") > renewals[g] })
			if !g.healthy() {
				t.Errorf("%s: the gateway is not healthy", what)
			}
		}
	}
	c.signal(syscall.SIGSTOP)
	stopped, _ := strconv.Atoi(c.read("apiserver.pid"))
	t.Cleanup(func() { _ = syscall.Kill(stopped, syscall.SIGCONT) })
	away("it hangs")
	c.signal(syscall.SIGCONT)
	begins("it goes on")

	c.kill()
	away("it is dead")
	keys.run("gateway", "restart") // and knows no keys then
	eventually(t, "the gateway is back", keys.healthy)
	keys.refuses("a gateway that began meanwhile", token[keys], model, "temporarily_unavailable")
	c.start()
	begins("it is back")
}

// renewals counts those of a share.
func (g *gateway) renewals(name string) uint64 {
	g.Helper()
	var shares []api.Share
	g.must(json.Unmarshal([]byte(g.run("share", "inspect", name, "-o", "json")), &shares))
	return shares[0].Token.Renewals
}

// TestCredential: what the gateway's own credential may do, and what it is told if it may not.
func TestCredential(t *testing.T) {
	c := start(t, "prod")
	pod := c.pod("work", "runner", "credited")
	review, keys := c.gateway(t, "token-review"), c.gateway(t, "jwks")
	ofReview, ofKeys := c.token(pod, review.url), c.token(pod, keys.url)
	review.begins("the example's role", ofReview)
	keys.begins("a ServiceAccount", ofKeys)

	write := func(g *gateway, credential string) {
		t.Helper()
		g.must(os.WriteFile(g.file("credential.new"), []byte(credential), 0o600))
		g.must(os.Rename(g.file("credential.new"), g.file("credential")))
	}
	good := c.requested("openshell", "openshell-gateway", "", nil)
	write(review, c.requested("work", "runner", "", nil))
	eventually(t, "a ServiceAccount without the role reviews nothing", func() bool { return review.exchange(ofReview, model).Error == "server_error" })
	review.refuses("without the role", ofReview, model, "server_error")
	write(review, "nonsense")
	eventually(t, "nonsense is no credential", func() bool { return review.exchange(ofReview, model).Error == "server_error" })
	write(review, good)
	review.begins("the credential is good again", ofReview)

	keys.configure(c, "")
	keys.run("gateway", "restart")
	eventually(t, "the gateway is back", keys.healthy)
	keys.refuses("no credential, and the keys are not for everybody", ofKeys, model, "server_error")
	binding := &rbac.ClusterRoleBinding{TypeMeta: meta.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRoleBinding"},
		ObjectMeta: meta.ObjectMeta{Name: "oidc-reviewer"}, Subjects: []rbac.Subject{{Kind: "Group", APIGroup: rbac.GroupName, Name: "system:unauthenticated"}},
		RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: "system:service-account-issuer-discovery"}}
	c.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
	t.Cleanup(func() {
		c.must(c.rest.Delete().AbsPath("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/oidc-reviewer").
			Do(context.WithoutCancel(t.Context())).Error())
	})
	keys.begins("the keys are for everybody", ofKeys)
}
