package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/config"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/tokens"
)

// configure writes the configuration that the world's gateways read.
func (w *world) configure(format string, args ...any) {
	w.Helper()
	path := filepath.Join(w.dir, "gateway.toml")
	w.must(os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600))
	w.settings = config.Reader{File: path, Named: true}
}

func (w *world) reload() api.Reloaded {
	w.Helper()
	result, err := w.client.Config.Reload(w.Context())
	w.must(err)
	return result
}

func (w *world) issuerOf(token []byte) (iss, sub string) {
	w.Helper()
	claims, err := w.gateway.keeper.Verifier(0).Verify(string(token), time.Now())
	w.must(err)
	return claims.Issuer, claims.Subject
}

// TestIssuerChanges: when a reload returns, every share has a token of the new issuer, and
// tokens of the former ones are good until they expire, over a restart, too.
func TestIssuerChanges(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.configure("")
	g := w.run()
	w.create(api.CreateRequest{Name: "box"})
	w.start("box")
	own := w.share(api.ShareRequest{Name: "agent", Tokens: api.Tokens{Files: []api.TokenFile{
		{File: "other.jwt", Audience: "https://other.example"}}}})
	read := func(name string) []byte {
		t.Helper()
		token, err := os.ReadFile(filepath.Join(own.Dir, name))
		w.must(err)
		return token
	}
	old := read(contract.TokenName)

	w.configure("issuer = %q\ntrust-domain = \"example.org\"\n", "https://tokens.example.org")
	if result := w.reload(); len(result.Changed) != 3 || result.Republished != 2 || result.Failed+result.Waiting != 0 {
		t.Errorf("reloaded: %+v", result)
	}
	iss, sub := w.issuerOf(read(contract.TokenName))
	if iss != "https://tokens.example.org" || sub != "spiffe://example.org/sandbox/"+own.ID {
		t.Errorf("the new token is by %s for %s", iss, sub)
	}
	v := g.keeper.Verifier(0)
	v.Audiences = []string{"https://other.example"}
	if claims, err := v.Verify(string(read("other.jwt")), time.Now()); err != nil || claims.Issuer != iss {
		t.Errorf("the other token: %+v, %v", claims, err)
	}
	if kinds := fmt.Sprint(g.keys.Algorithms()); kinds != "[EdDSA ES256 RS256]" {
		t.Errorf("there are keys for %s", kinds)
	}
	if result := w.reload(); result.Republished != 0 || len(result.Changed) != 0 {
		t.Errorf("nothing has changed: %+v", result)
	}
	view, err := w.client.Issuer.Get(t.Context())
	w.must(err)
	if view.URL != iss || view.PublishFor != 15*time.Minute ||
		len(view.Former) != 1 || view.Former[0].Name != "openshell-gateway:"+g.home.ID {
		t.Errorf("%+v", view)
	}
	if iss, sub := w.issuerOf(old); iss != view.Former[0].Name || !strings.HasPrefix(sub, "spiffe://openshell/") {
		t.Errorf("the old token is by %s for %s", iss, sub)
	}
	w.stop()
	w.run()
	if !w.verdict(old) || !w.verdict(read(contract.TokenName)) {
		t.Error("a good token is refused after a restart")
	}
	v = w.gateway.keeper.Verifier(0)
	if _, err := v.Verify(string(old), time.Now().Add(tokens.MaxTTL+time.Hour)); err == nil {
		t.Error("for ever")
	}

	// A new key is published before it signs, since there is an issuer.
	rotated, err := w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	if ahead := time.Until(rotated.SignsFrom); ahead < 14*time.Minute || ahead > 15*time.Minute {
		t.Errorf("it signs in %v", ahead)
	}
}

// TestKilledWhileIssuerChanges: a gateway is killed when the new issuer is written down and no
// share has a token of it yet. The next one replaces the tokens at once, and those of the
// former issuer are good meanwhile.
func TestKilledWhileIssuerChanges(t *testing.T) {
	w := newWorld(t)
	w.run()
	own := w.share(api.ShareRequest{Name: "agent"})
	old, err := os.ReadFile(filepath.Join(own.Dir, contract.TokenName))
	w.must(err)
	w.stop()

	w.configure("issuer = \"https://tokens.example.org\"\n")
	g := w.open()
	if renamed, err := g.applyConfig(); err != nil || !renamed { // and here it is killed
		t.Fatal(renamed, err)
	}
	g.home.Close()
	g = w.run()
	if !w.verdict(old) {
		t.Error("the former issuer's token is refused")
	}
	w.eventually("the share has a token of the new issuer", func() bool {
		claims, err := g.readToken(g.byID(own.ID), time.Now())
		return err == nil && claims.Issuer == "https://tokens.example.org"
	})

	// Killed before it was written down: the next one does all of it.
	w.stop()
	w.configure("issuer = \"https://second.example.org\"\n")
	g = w.run()
	w.eventually("the share has a token of the second issuer", func() bool {
		claims, err := g.readToken(g.byID(own.ID), time.Now())
		return err == nil && claims.Issuer == "https://second.example.org"
	})
	if !w.verdict(old) {
		t.Error("the first issuer's token is refused")
	}
}

// TestIssuerCantChange: an issuer that can't be written down leaves the former one in force, is
// told, and is tried again.
func TestIssuerCantChange(t *testing.T) {
	w := newWorld(t)
	w.configure("")
	g := w.run()
	own := w.share(api.ShareRequest{Name: "agent"})
	blocked := g.home.Issuer() + ".new"
	w.must(os.MkdirAll(filepath.Join(blocked, "x"), 0o700)) // as a disk that takes nothing
	w.configure("issuer = \"https://tokens.example.org\"\n")
	if _, err := w.client.Config.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "change the issuer") {
		t.Errorf("%v", err)
	}
	status, err := w.client.Status(t.Context())
	w.must(err)
	if text := fmt.Sprint(status.Further); !strings.Contains(text, "can't be written down") {
		t.Errorf("status says %s", text)
	}
	if claims, err := g.readToken(g.byID(own.ID), time.Now()); err != nil || strings.HasPrefix(claims.Issuer, "https") {
		t.Errorf("%+v, %v", claims, err)
	}
	w.must(os.RemoveAll(blocked))
	g.applyAgain(t.Context()) // as upkeep does
	if claims, err := g.readToken(g.byID(own.ID), time.Now()); err != nil || claims.Issuer != "https://tokens.example.org" {
		t.Errorf("%+v, %v", claims, err)
	}
}

// freeAddress returns a port of the loopback that nobody has now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestOtherVerifier: go-oidc with its default settings, by discovery from the listener alone,
// takes the tokens that it should, over a rotation, and no other.
func TestOtherVerifier(t *testing.T) {
	w := newWorld(t)
	// The certificate and the authority are httptest's; its own server is not asked.
	other := httptest.NewTLSServer(http.NotFoundHandler())
	defer other.Close()
	cert, key := writePair(t, w.dir, other.TLS.Certificates[0])
	addr := freeAddress(t)
	w.configure("issuer = \"https://%s\"\nlisten = %q\ntls-cert = %q\ntls-key = %q\n", addr, addr, cert, key)
	g := w.run()
	w.eventually("it listens: "+g.listener.Status(), func() bool { return g.listener.Addr() != "" })
	own := w.share(api.ShareRequest{Name: "agent", Tokens: api.Tokens{Files: []api.TokenFile{
		{File: "es.jwt", Audience: "https://es.example"}, {File: "rs.jwt", Audience: "https://rs.example", Algorithm: "RS256"}}}})

	ctx := oidc.ClientContext(t.Context(), other.Client())
	provider, err := oidc.NewProvider(ctx, "https://"+addr)
	w.must(err)
	verify := func(file, audience string) error {
		raw, err := os.ReadFile(filepath.Join(own.Dir, file))
		w.must(err)
		_, err = provider.Verifier(&oidc.Config{ClientID: audience}).Verify(ctx, string(raw))
		return err
	}
	good := map[string]string{contract.TokenName: "openshell-gateway:" + g.home.ID,
		"es.jwt": "https://es.example", "rs.jwt": "https://rs.example"}
	for file, audience := range good {
		if err := verify(file, audience); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if err := verify("es.jwt", "https://rs.example"); err == nil {
		t.Error("another audience's token is taken")
	}
	at := time.Duration(0) // signs at once: the worst case, since nobody could know the key
	_, err = w.client.Keys.Rotate(t.Context(), api.RotateRequest{PublishFor: &at})
	w.must(err)
	for file, audience := range good {
		if err := verify(file, audience); err != nil {
			t.Errorf("after a rotation: %s: %v", file, err)
		}
	}
	if _, err := oidc.NewProvider(ctx, "https://"+addr+"/"); err == nil {
		t.Error("an issuer that is spelled in another way is discovered")
	}
}

// TestStalledVerifiers: 1,000 connections that say nothing delay no renewal.
func TestStalledVerifiers(t *testing.T) {
	w := newWorld(t)
	addr := freeAddress(t)
	w.configure("listen = %q\n", addr)
	g := w.run()
	w.eventually("it listens: "+g.listener.Status(), func() bool { return g.listener.Addr() != "" })
	own := w.share(api.ShareRequest{Name: "agent", TTL: 16 * time.Second})
	for range 1000 {
		conn, err := net.DialTimeout("tcp", addr, patience)
		w.must(err)
		defer conn.Close()
		_, _ = fmt.Fprint(conn, "GET / HTTP/1.1\r\nX-") // one that was refused is no fault
	}
	begun := own.Token
	w.eventually("the token is renewed", func() bool { return w.shareOf("agent").Token.Generation > begun.Generation })
	now := w.shareOf("agent").Token
	if late := now.IssuedAt.Sub(begun.RenewAt); late > time.Second {
		t.Errorf("renewed %v late", late)
	}
}

// TestPortIsTaken: a port that can't be had is told, and renewals go on.
func TestPortIsTaken(t *testing.T) {
	w := newWorld(t)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	defer other.Close()
	w.configure("listen = %q\n", other.Addr())
	w.run()
	w.share(api.ShareRequest{Name: "agent"})
	w.eventually("status tells it", func() bool {
		status, err := w.client.Status(context.Background())
		return err == nil && strings.Contains(fmt.Sprint(status.Further), "address already in use")
	})
	before := w.shareOf("agent").Token.Generation
	_, err = w.client.Tokens.Rotate(t.Context(), "agent")
	w.must(err)
	if w.shareOf("agent").Token.Generation != before+1 {
		t.Error("not renewed")
	}
}

// TestHookOfAGateway: the user's command has the documents of each change.
func TestHookOfAGateway(t *testing.T) {
	w := newWorld(t)
	script := filepath.Join(w.dir, "hook")
	publish := fmt.Appendf(nil, "#!/bin/sh\ncp .well-known/jwks.json %s/seen.new && mv %[1]s/seen.new %[1]s/seen\n", w.dir)
	w.must(os.WriteFile(script, publish, 0o700))
	w.configure("issuer = \"https://tokens.example.org\"\nhook = [%q]\n", script)
	w.run()
	sees := func(kid string) bool {
		text, _ := os.ReadFile(filepath.Join(w.dir, "seen"))
		return kid != "" && strings.Contains(string(text), kid)
	}
	keys, err := w.client.Keys.List(t.Context())
	w.must(err)
	w.eventually("the first key is published", func() bool { return sees(keys[0].ID) })
	rotated, err := w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	w.eventually("the next key is published", func() bool { return sees(rotated.KeyID) })
	w.must(os.WriteFile(script, []byte("#!/bin/sh\necho no bucket; exit 3\n"), 0o700))
	_, err = w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	w.eventually("a failure is in the status", func() bool {
		status, err := w.client.Status(context.Background())
		return err == nil && strings.Contains(fmt.Sprint(status.Further), "exit status 3: no bucket")
	})
}

// TestKeysWaitForTheHook: a new key does not sign before the hook has published it, and is shown
// to wait.
func TestKeysWaitForTheHook(t *testing.T) {
	w := newWorld(t)
	hook := func(name, text string) string {
		script := filepath.Join(w.dir, name)
		w.must(os.WriteFile(script, []byte("#!/bin/sh\n"+text+"\n"), 0o700))
		return script
	}
	w.configure("issuer = \"https://tokens.example.org\"\nhook = [%q]\n", hook("fails", "exit 3"))
	g := w.run()
	at := time.Second
	rotated, err := w.client.Keys.Rotate(t.Context(), api.RotateRequest{PublishFor: &at})
	w.must(err)
	if time.Until(rotated.SignsFrom) < time.Minute {
		t.Errorf("it signs at %v", rotated.SignsFrom)
	}
	w.eventually("status says that the keys wait", func() bool {
		status, err := w.client.Status(context.Background())
		return err == nil && strings.Contains(fmt.Sprint(status.Further), "exit status 3") &&
			strings.Contains(fmt.Sprint(status.Further), "the hook has not published them")
	})
	keys, err := w.client.Keys.List(t.Context())
	w.must(err)
	waiting := 0
	for _, k := range keys {
		if k.Unpublished && !k.Signs && time.Until(k.SignsFrom) > time.Minute {
			waiting++
		}
	}
	if waiting != 3 {
		t.Errorf("%d of the new keys wait: %+v", waiting, keys)
	}
	if !strings.Contains(w.log.String(), "level=WARN msg=\"a key signs at another time") {
		t.Error("the log does not have it")
	}
	w.configure("issuer = \"https://tokens.example.org\"\nhook = [%q]\n", hook("works", "exit 0"))
	w.reload()
	w.eventually("the key signs once it is published", func() bool { return g.keys.SigningKeyID() == rotated.KeyID })
}

// TestListenerKeepsTheGateway: a gateway that serves verifiers does not end for want of work.
func TestListenerKeepsTheGateway(t *testing.T) {
	w := newWorld(t)
	w.configure("listen = %q\n", freeAddress(t))
	home, err := state.Open()
	w.must(err)
	defer home.Close()
	live, err := config.Open(w.settings, "")
	w.must(err)
	g, err := New(home, Options{IdleAfter: time.Nanosecond, Config: live})
	w.must(err)
	if !g.idle(time.Now().Add(time.Hour)) {
		t.Error("it does not end without a listener")
	}
	if _, err := g.applyConfig(); err != nil || g.idle(time.Now().Add(time.Hour)) {
		t.Errorf("it ends: %v", err)
	}
}

// writePair writes a certificate and its key as PEM files.
func writePair(t *testing.T, dir string, pair tls.Certificate) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
