//go:build e2e

package kubernetes_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// The audiences of what the gateways give.
const (
	model = "https://api.anthropic.com" // for the ServiceAccount runner in work
	other = "https://other.example.org" // for all in open
)

// gateways is the directory with the homes of this run's.
var gateways string

// checks are the ways of a gateway to check a token.
var checks = []string{"jwks", "token-review"}

// gateway is a real one, with a listener, and a cluster whose pods it serves.
type gateway struct {
	testing.TB
	check, home, url string
	client           *http.Client
}

// each runs body with a gateway of each check.
func (c *cluster) each(t *testing.T, body func(t *testing.T, g *gateway)) {
	for _, check := range checks {
		t.Run(check, func(t *testing.T) { body(t, c.gateway(t, check)) })
	}
}

// gateway starts one, whose credential for the API server is that of the example.
func (c *cluster) gateway(t testing.TB, check string) *gateway {
	t.Helper()
	home, err := os.MkdirTemp(gateways, "g")
	c.must(err)
	port, err := net.Listen("tcp", "127.0.0.1:0")
	c.must(err)
	g := &gateway{TB: t, check: check, home: home, url: "https://" + port.Addr().String()}
	g.certificate()
	c.credential(g.file("credential"))
	g.configure(c, g.file("credential"))
	c.must(port.Close())
	t.Cleanup(g.end)
	g.run("gateway", "start")
	eventually(t, "it listens", g.healthy)
	return g
}

func (g *gateway) file(name string) string { return filepath.Join(g.home, name) }

func (g *gateway) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// certificate makes one for the listener, and a client that trusts it alone.
func (g *gateway) certificate() {
	g.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	g.must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	g.must(err)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	g.must(os.WriteFile(g.file("tls.crt"), certificate, 0o600))
	g.must(os.WriteFile(g.file("tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(certificate)
	g.client = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
}

// configure writes the configuration. A credential of "" is none.
func (g *gateway) configure(c *cluster, credential string) {
	g.Helper()
	if credential != "" {
		credential = fmt.Sprintf("token-file = %q\n", credential)
	}
	text := fmt.Sprintf(`
issuer = %q
trust-domain = "example.org"
listen = %q
tls-cert = %q
tls-key = %q

[clusters.prod]
issuer = %q
server = %q
ca = %q
%scheck = %q

[[clusters.prod.allow]]
namespace = "work"
service-account = "runner"
audiences = [%q]

[[clusters.prod.allow]]
namespace = "open"
service-account = "*"
audiences = [%q]
`, g.url, g.url[len("https://"):], g.file("tls.crt"), g.file("tls.key"), clusterIssuer, c.url, c.ca(), credential, g.check, model, other)
	g.must(os.WriteFile(g.file("gateway.toml"), []byte(text), 0o600))
}

// command returns a command that runs one of our programs.
func (g *gateway) command(program string, args ...string) *exec.Cmd {
	bin, err := filepath.Abs("../../bin")
	g.must(err)
	cmd := exec.CommandContext(context.WithoutCancel(g.Context()), filepath.Join(bin, program), args...)
	cmd.Env = environ(g.home)
	return cmd
}

// environ is the environment of what belongs to a gateway.
func environ(home string) []string {
	return []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "OPENSHELL_STATE_DIR=" + filepath.Join(home, "state"),
		"OPENSHELL_RUNTIME_DIR=" + filepath.Join(home, "run"), "OPENSHELL_CONFIG=" + filepath.Join(home, "gateway.toml")}
}

// run runs the CLI, which has to succeed.
func (g *gateway) run(args ...string) string {
	g.Helper()
	out, err := g.command("openshell-vm", args...).CombinedOutput()
	if err != nil {
		g.Fatalf("openshell-vm %q: %v\n%s", args, err, out)
	}
	return string(out)
}

func (g *gateway) end() {
	if g.Failed() {
		g.Logf("its log ends with\n%s", tail(g.file("state/gateway.log")))
	}
	g.run("gateway", "stop")
	g.must(os.RemoveAll(g.home))
}

func (g *gateway) healthy() bool {
	response, err := g.client.Get(g.url + "/healthz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// answer is a gateway's to who wants to exchange a token.
type answer struct {
	Status      int
	Token       string `json:"access_token"`
	Type        string `json:"issued_token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// exchange asks for a token.
func (g *gateway) exchange(token, audience string) (a answer) {
	g.Helper()
	response, err := g.client.PostForm(g.url+"/v1/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"}, "audience": {audience}})
	g.must(err)
	defer response.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	g.must(err)
	a.Status = response.StatusCode
	if err := json.Unmarshal(body.Bytes(), &a); err != nil {
		g.Fatalf("%s: %v in %q", response.Status, err, body.String())
	}
	if bytes.Contains(body.Bytes(), []byte(token)) && token != "" {
		g.Error("the answer quotes the token")
	}
	return a
}

// takes reports whether a token is exchanged.
func (g *gateway) takes(token string) bool {
	g.Helper()
	return g.exchange(token, model).Token != ""
}

// begins waits until a token is exchanged.
func (g *gateway) begins(what, token string) {
	g.Helper()
	var last answer
	defer func() {
		if g.Failed() {
			g.Logf("%s: %+v", what, last)
		}
	}()
	eventually(g, what, func() bool { last = g.exchange(token, model); return last.Token != "" })
}

// refuses checks that a token is not exchanged, and the reason's code.
func (g *gateway) refuses(what, token, audience, code string) {
	g.Helper()
	a := g.exchange(token, audience)
	if a.Token != "" || a.Error != code || a.Description == "" || a.Status != statusOf[code] {
		g.Errorf("%s: %d, %s, %q; %s is wanted", what, a.Status, a.Error, a.Description, code)
	}
	g.Logf("%s: %s", what, a.Description)
}

var statusOf = map[string]int{"invalid_request": 400, "invalid_target": 400, "temporarily_unavailable": 503, "server_error": 500}

// verified has a verifier that nobody here wrote find the keys by discovery.
func (g *gateway) verified(token, audience string) *oidc.IDToken {
	g.Helper()
	ctx := oidc.ClientContext(g.Context(), g.client)
	provider, err := oidc.NewProvider(ctx, g.url)
	g.must(err)
	verified, err := provider.Verifier(&oidc.Config{ClientID: audience}).Verify(ctx, token)
	g.must(err)
	return verified
}
