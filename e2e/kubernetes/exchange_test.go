//go:build e2e

package kubernetes_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	core "k8s.io/api/core/v1"
)

// TestExchange: the token of a pod is exchanged for one that others verify, and that says whose it
// is. What is not as it has to be is refused, with its reason.
func TestExchange(t *testing.T) {
	c, stranger := start(t, "prod"), start(t, "other")
	runner, any, elsewhere := c.pod("work", "runner", "agent-0"), c.pod("open", "any", "agent-0"), c.pod("elsewhere", "runner", "agent-0")
	deputy, strange := c.pod("work", "deputy", "agent-1"), stranger.pod("work", "runner", "agent-0")
	c.each(t, func(t *testing.T, g *gateway) {
		own := c.token(runner, g.url)
		g.begins("the first one", own)
		first, second := g.exchange(own, model), g.exchange(own, model)
		verified := g.judges(first, own, "work/runner/agent-0", model)
		if again := g.judges(second, own, "work/runner/agent-0", model); again["jti"] == verified["jti"] || verified["jti"] == "" {
			t.Errorf("two tokens have the jti %v", again["jti"])
		}
		g.judges(g.exchange(c.token(any, g.url), other), c.token(any, g.url), "open/any/agent-0", other)

		for _, r := range []struct{ what, token, audience, code string }{
			{"another audience", own, "https://sts.amazonaws.com", "invalid_target"},
			{"another's audience", own, other, "invalid_target"},
			{"another ServiceAccount", c.token(deputy, g.url), model, "invalid_request"},
			{"another namespace", c.token(elsewhere, g.url), model, "invalid_request"},
			{"a token for another audience", c.token(runner, "https://elsewhere.example.org"), model, "invalid_request"},
			{"a token for the API server", c.token(runner, ""), model, "invalid_request"},
			{"a token that is bound to no pod", c.requested("work", "runner", g.url, nil), model, "invalid_request"},
			{"another cluster with the same issuer", stranger.token(strange, g.url), model, "invalid_request"},
			{"what the gateway has given", first.Token, model, "invalid_request"},
			{"no token", "nonsense", model, "invalid_request"},
			{"an empty one", "", model, "invalid_request"},
		} {
			g.refuses(r.what, r.token, r.audience, r.code)
		}
		for what, token := range c.forged(own) {
			g.refuses(what, token, model, "invalid_request")
		}
		if !g.takes(own) {
			t.Error("the good token is refused after all of this")
		}
	})
}

// judges has what a gateway gave for a token verified, and returns its claims.
func (g *gateway) judges(a answer, given, whose, audience string) map[string]any {
	g.Helper()
	if a.Token == "" || a.Type != "urn:ietf:params:oauth:token-type:jwt" {
		g.Fatalf("%s gets %+v", whose, a)
	}
	verified := g.verified(a.Token, audience)
	before := claimsOf(g, given)
	expires := time.Unix(int64(before["exp"].(float64)), 0)
	if left := time.Until(verified.Expiry); verified.Expiry.After(expires) || left < tokenLife/2 || a.ExpiresIn > int64(left/time.Second)+1 {
		g.Errorf("it expires at %v, in %d s; what was given at %v", verified.Expiry, a.ExpiresIn, expires)
	}
	if verified.Subject != "spiffe://example.org/kubernetes/prod/"+whose {
		g.Errorf("its subject is %s", verified.Subject)
	}
	claims := map[string]any{}
	g.must(verified.Claims(&claims))
	ours, _ := claims["openshell"].(map[string]any)
	says, _ := ours["kubernetes"].(map[string]any)
	bound := before["kubernetes.io"].(map[string]any)
	if says["cluster"] != "prod" || says["podUID"] != bound["pod"].(map[string]any)["uid"] ||
		says["serviceAccountUID"] != bound["serviceaccount"].(map[string]any)["uid"] {
		g.Errorf("it says %v of %v", ours, bound)
	}
	for _, name := range []string{"sandbox_id", "gen", "kubernetes.io"} {
		if claims[name] != nil {
			g.Errorf("it has the claim %s: %v", name, claims[name])
		}
	}
	return claims
}

// forged are tokens that are like a good one but for one thing.
func (c *cluster) forged(good string) map[string]string {
	c.Helper()
	block, _ := pem.Decode([]byte(c.read("keys/signing.key")))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	c.must(err)
	its := parsed.(*rsa.PrivateKey)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	c.must(err)
	public, err := x509.MarshalPKIXPublicKey(&its.PublicKey)
	c.must(err)
	signed := func(method jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
		token, _, err := jwt.NewParser().ParseUnverified(good, jwt.MapClaims{})
		c.must(err)
		claims := maps.Clone(token.Claims.(jwt.MapClaims))
		change(claims)
		made := jwt.NewWithClaims(method, claims)
		made.Header["kid"] = token.Header["kid"]
		text, err := made.SignedString(key)
		c.must(err)
		return text
	}
	as := func(change func(jwt.MapClaims)) string { return signed(jwt.SigningMethodRS256, its, change) }
	seconds := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	return map[string]string{
		"an expired token":             as(func(m jwt.MapClaims) { m["exp"] = seconds(-time.Second) }),
		"a token of tomorrow":          as(func(m jwt.MapClaims) { m["nbf"], m["exp"] = seconds(24*time.Hour), seconds(25*time.Hour) }),
		"another issuer":               as(func(m jwt.MapClaims) { m["iss"] = "https://evil.example.org" }),
		"a subject of another account": as(func(m jwt.MapClaims) { m["sub"] = "system:serviceaccount:work:deputy" }),
		"no expiry":                    as(func(m jwt.MapClaims) { delete(m, "exp") }),
		"a stranger's signature":       signed(jwt.SigningMethodRS256, stranger, func(jwt.MapClaims) {}),
		"no signature":                 signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, func(jwt.MapClaims) {}),
		"the public key as a secret": signed(jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
			func(jwt.MapClaims) {}),
		"a byte more": good + "A",
	}
}

// TestOpenshellToken runs the program and the loop of the example's pod, with the files that a
// kubelet would have there.
func TestOpenshellToken(t *testing.T) {
	c := start(t, "prod")
	g := c.gateway(t, "token-review")
	pod := c.pod("work", "runner", "agent-0")
	given := c.token(pod, g.url)
	projected := g.file("projected") // as the kubelet has it: a link to a directory that is replaced
	g.must(os.MkdirAll(filepath.Join(projected, "..1"), 0o700))
	g.must(os.WriteFile(filepath.Join(projected, "..1", "token"), []byte(given), 0o600))
	g.must(os.Symlink("..1", filepath.Join(projected, "..data")))
	g.must(os.Symlink("..data/token", filepath.Join(projected, "token")))

	example := one[*core.Pod](t, manifests(t, "agent.yaml")).Spec.InitContainers[0]
	tokens, bin := g.file("tokens"), g.file("bin")
	g.must(os.MkdirAll(tokens, 0o700))
	g.must(os.MkdirAll(bin, 0o700))
	program, err := filepath.Abs("../../bin/openshell-token")
	g.must(err)
	g.must(os.Symlink(program, filepath.Join(bin, "openshell-token")))
	env := environment(example)
	env["OPENSHELL_GATEWAY_URL"], env["SSL_CERT_FILE"] = g.url, g.file("tls.crt")
	env["OPENSHELL_SANDBOX_TOKEN_FILE"] = filepath.Join(projected, "token")
	env["PATH"] = bin + ":" + os.Getenv("PATH")
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	script := strings.ReplaceAll(example.Command[2], "/tokens/", tokens+"/")
	loop := exec.Command(example.Command[0], "-c", script)
	loop.Env, loop.SysProcAttr = list, &syscall.SysProcAttr{Setpgid: true}
	g.must(loop.Start())
	file := filepath.Join(tokens, "anthropic.jwt")
	t.Cleanup(func() { _ = syscall.Kill(-loop.Process.Pid, syscall.SIGKILL) })
	eventually(t, "the loop writes a token", func() bool { info, err := os.Stat(file); return err == nil && info.Size() > 0 })
	g.must(syscall.Kill(-loop.Process.Pid, syscall.SIGKILL)) // its sleep, too
	_ = loop.Wait()
	written, err := os.ReadFile(file)
	g.must(err)
	g.judges(answer{Token: strings.TrimSpace(string(written)), Type: "urn:ietf:params:oauth:token-type:jwt"}, given, "work/runner/agent-0", model)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}

	ask := func(audience string) (string, error) {
		cmd := exec.Command(program, "--timeout", "20s", audience)
		cmd.Env = list
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := ask("https://other.example.org"); err == nil || !strings.Contains(out, "invalid_target") {
		t.Errorf("another audience: %v, %s", err, out)
	}
}
