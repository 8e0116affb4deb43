package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/oauth"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/peer"
)

// asker asks the gateway by a sandbox's socket, as programs inside do.
type asker struct {
	*world
	client *http.Client
}

func (w *world) asker(ref string) asker {
	all := w.gateway.fleet.All()
	for _, s := range all {
		if r := s.Rec(); r.Name == ref {
			dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
				return peer.DialIn(ctx, r.DoorDir(), "gateway.sock")
			}
			return asker{w, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
		}
	}
	w.Fatalf("there is no sandbox %s", ref)
	return asker{}
}

// send returns the answer's status, its challenge and its body.
func (a asker) send(method, path, bearer string, form url.Values) (status int, challenge string, body map[string]any) {
	a.Helper()
	request, err := http.NewRequestWithContext(a.Context(), method, "http://gateway"+path, strings.NewReader(form.Encode()))
	a.must(err)
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := a.client.Do(request)
	a.must(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	a.must(err)
	_ = json.Unmarshal(text, &body)
	return response.StatusCode, response.Header.Get("WWW-Authenticate"), body
}

func (a asker) whoami(token string) (int, string, map[string]any) {
	a.Helper()
	return a.send("GET", "/v1/whoami", token, nil)
}

func (a asker) exchange(token, audience string) (int, map[string]any) {
	a.Helper()
	status, _, body := a.send("POST", "/v1/token", "", url.Values{"grant_type": {oauth.GrantExchange}, "subject_token": {token},
		"subject_token_type": {oauth.TypeJWT}, "audience": {audience}})
	return status, body
}

// tokenOf reads the token that a sandbox has.
func (w *world) tokenOf(ref string) string {
	w.Helper()
	token, err := os.ReadFile(filepath.Join(w.shareOf(ref).Dir, contract.TokenName))
	w.must(err)
	return string(token)
}

// TestAsk: a sandbox learns who it is, gets tokens for the audiences that it was allowed, each
// with an id of its own, and is told why it gets no other. Its socket takes no other sandbox's
// token, and outlives the gateway.
func TestAsk(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	w.create(api.CreateRequest{Name: "box", Tokens: api.Tokens{Identity: "ci", Audiences: []string{"https://a.example"},
		Files: []api.TokenFile{{Audience: "b", Algorithm: "EdDSA", TTL: time.Minute}}}})
	w.create(api.CreateRequest{Name: "other"})
	for _, name := range []string{"box", "other"} {
		w.start(name)
	}
	box, other := w.asker("box"), w.asker("other")
	token := w.tokenOf("box")

	status, challenge, who := box.whoami("")
	if status != 401 || strings.Contains(challenge, "error") || !strings.HasPrefix(challenge, "Bearer ") {
		t.Errorf("without a token: %d, %q, %v", status, challenge, who)
	}
	status, _, who = box.whoami(token)
	if id := w.get("box").ID; status != 200 || who["sub"] != "spiffe://openshell/sandbox/"+id || who["sandbox_id"] != id || who["active"] != true {
		t.Errorf("%d, %v", status, who)
	}
	status, challenge, _ = other.whoami(token)
	if status != 401 || !strings.Contains(challenge, `error="invalid_token"`) || !strings.Contains(challenge, "another sandbox") {
		t.Errorf("another sandbox's socket: %d, %q", status, challenge)
	}

	ids := map[any]bool{}
	for _, audience := range []string{"https://a.example", "https://a.example", "b"} {
		status, got := box.exchange(token, audience)
		raw, _ := got["access_token"].(string)
		if status != 200 || raw == "" || got["issued_token_type"] != oauth.TypeJWT {
			t.Fatalf("%s: %d, %v", audience, status, got)
		}
		_, _, made := box.send("POST", "/v1/introspect", "", url.Values{"token": {raw}})
		if made["active"] != true || made["aud"] != audience || made["sub"] != "spiffe://openshell/identity/ci" || ids[made["jti"]] {
			t.Errorf("%s: %v", audience, made)
		}
		ids[made["jti"]] = true
		if life := made["exp"].(float64) - made["iat"].(float64); life > 900 || audience == "b" && life > 60 {
			t.Errorf("%s lives for %v s", audience, life)
		}
	}
	for audience, want := range map[string]string{"c": "invalid_target", "": "invalid_request", "https://a.example/": "invalid_target"} {
		if status, got := box.exchange(token, audience); status != 400 || got["error"] != want {
			t.Errorf("audience %q: %d, %v", audience, status, got)
		}
	}
	if status, got := other.exchange(token, "https://a.example"); status != 400 || !strings.Contains(fmt.Sprint(got["error_description"]), "another sandbox") {
		t.Errorf("by another's socket: %d, %v", status, got)
	}
	if status, got := other.exchange(w.tokenOf("other"), "b"); status != 400 || got["error"] != "invalid_target" {
		t.Errorf("what it was not allowed: %d, %v", status, got)
	}
	if status, _, got := other.send("POST", "/v1/introspect", "", url.Values{"token": {token + "x"}}); status != 200 || got["active"] != false || len(got) != 1 {
		t.Errorf("a broken token: %d, %v", status, got)
	}

	if status, _, keys := box.send("GET", "/.well-known/jwks.json", "", nil); status != 200 || keys["keys"] == nil {
		t.Errorf("the keys: %d, %v", status, keys)
	}
	if status, _, _ := box.send("GET", "/.well-known/openid-configuration", "", nil); status != 404 {
		t.Errorf("the discovery document of an issuer without a URL: %d", status)
	}

	w.stop()
	if _, err := box.client.Get("http://gateway/healthz"); err == nil {
		t.Error("a gateway that has ended answers")
	}
	w.run()
	w.eventually("the next gateway listens on the same socket", func() bool {
		response, err := box.client.Get("http://gateway/healthz")
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})
	if status, _, _ := w.asker("box").whoami(token); status != 200 {
		t.Errorf("after a restart: %d", status)
	}
	dir := w.gateway.fleet.All()[0].Rec().DoorDir()
	for _, name := range []string{"box", "other"} {
		w.must(w.client.Remove(t.Context(), name, true))
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) > 0 {
		t.Errorf("sockets of removed sandboxes are left: %v, %v", left, err)
	}
}

// TestRevoke: the tokens so far are refused at once and after a restart, also those that were asked
// for; the new ones are good.
func TestRevoke(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	w.create(api.CreateRequest{Name: "box", Tokens: api.Tokens{Audiences: []string{"a"}}})
	w.start("box")
	box, old := w.asker("box"), w.tokenOf("box")
	_, got := box.exchange(old, "a")
	asked, _ := got["access_token"].(string)
	active := func(raw string) any {
		_, _, body := w.asker("box").send("POST", "/v1/introspect", "", url.Values{"token": {raw}})
		return body["active"]
	}
	if active(old) != true || active(asked) != true {
		t.Fatal("the tokens are not good to begin with")
	}
	_, err := w.client.Tokens.Revoke(t.Context(), "box")
	w.must(err)
	check := func(when string) {
		t.Helper()
		if status, challenge, _ := w.asker("box").whoami(old); status != 401 || !strings.Contains(challenge, "revoked") {
			t.Errorf("%s: %d, %q", when, status, challenge)
		}
		if w.verdict([]byte(old)) || active(old) != false || active(asked) != false {
			t.Errorf("%s: a revoked token is good", when)
		}
		if status, _, _ := w.asker("box").whoami(w.tokenOf("box")); status != 200 {
			t.Errorf("%s: the new token is refused: %d", when, status)
		}
	}
	check("at once")
	w.stop()
	w.run()
	w.eventually("the socket is back", func() bool {
		response, err := box.client.Get("http://gateway/healthz")
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})
	check("after a restart")
}

// TestAskFromAfar: who can reach the listener learns from a token whose it is, and whether another one
// is good. It exchanges nothing.
func TestAskFromAfar(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	addr := freeAddress(t)
	w.configure("listen = %q\n", addr)
	w.run()
	w.create(api.CreateRequest{Name: "box", Tokens: api.Tokens{Audiences: []string{"a"}}})
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
	token := w.tokenOf("box")
	if status, _, who := afar.whoami(token); status != 200 || who["sandbox_id"] != w.get("box").ID {
		t.Errorf("whoami: %d, %v", status, who)
	}
	if status, challenge, _ := afar.whoami(token + "x"); status != 401 || !strings.Contains(challenge, "invalid_token") {
		t.Errorf("a broken token: %d, %q", status, challenge)
	}
	asked := url.Values{"token": {token}}
	if status, _, _ := afar.send("POST", "/v1/introspect", "", asked); status != 401 {
		t.Errorf("introspection for anybody: %d", status)
	}
	if status, _, got := afar.send("POST", "/v1/introspect", token, asked); status != 200 || got["active"] != true {
		t.Errorf("introspection: %d, %v", status, got)
	}
	if status, got := afar.exchange(token, "a"); status != 404 && status != 405 {
		t.Errorf("an exchange from afar: %d, %v", status, got)
	}
}

// TestOneSandboxFloods: a sandbox with 1,000 open connections, which asks 10,000 times for tokens,
// delays nobody's renewal.
func TestOneSandboxFloods(t *testing.T) {
	const shares, connections, requests = 200, 1000, 10_000
	w := newWorld(t, newFake("fake"))
	w.run()
	w.create(api.CreateRequest{Name: "box", Tokens: api.Tokens{Audiences: []string{"a"}}})
	w.start("box")
	before := map[string]api.Token{}
	for i := range shares {
		name := fmt.Sprint("agent", i)
		before[name] = w.share(api.ShareRequest{Name: name, TTL: 16 * time.Second}).Token
	}
	dir, token := w.gateway.fleet.All()[0].Rec().DoorDir(), w.tokenOf("box")
	ctx, cancel := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	defer flood.Wait()
	defer cancel()
	for range connections {
		flood.Go(func() {
			if conn, err := peer.DialIn(ctx, dir, "gateway.sock"); err == nil {
				<-ctx.Done()
				conn.Close()
			}
		})
	}
	form := url.Values{"grant_type": {oauth.GrantExchange}, "subject_token": {token}, "subject_token_type": {oauth.TypeJWT}, "audience": {"a"}}
	for range 50 {
		flood.Go(func() {
			client := w.asker("box").client
			for range requests / 50 {
				request, _ := http.NewRequestWithContext(ctx, "POST", "http://gateway/v1/token", strings.NewReader(form.Encode()))
				request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				if response, err := client.Do(request); err == nil {
					response.Body.Close()
				} else if ctx.Err() != nil {
					return
				}
			}
		})
	}
	for name, was := range before {
		var now api.Token
		w.eventually(name+" is renewed", func() bool { now = w.shareOf(name).Token; return now.Generation > was.Generation })
		// Of the 7.2 s that are left of the lifetime 6 s are for retries and scheduling.
		if late := now.IssuedAt.Sub(was.RenewAt); now.Generation == was.Generation+1 && late > 4*time.Second {
			t.Errorf("%s was renewed %v late", name, late)
		}
	}
}
