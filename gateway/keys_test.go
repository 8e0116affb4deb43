package gateway

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/tokens"
)

// verdict asks the gateway to verify a token that a share held.
func (w *world) verdict(token []byte) bool {
	w.Helper()
	r, err := w.client.Tokens.Verify(w.Context(), api.VerifyRequest{Token: string(token)})
	w.must(err)
	return r.Valid
}

// TestRotateKeys: when a rotation returns, every share holds a token of the new key. Tokens
// of the old key still verify, and those of a retired key do not.
func TestRotateKeys(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	w.create(api.CreateRequest{Name: "box"})
	w.start("box")
	before := w.get("box").Token.Generation
	own := w.share(api.ShareRequest{Name: "agent", TTL: 2 * time.Hour})
	old := g.keys.SigningKeyID()
	token, err := os.ReadFile(filepath.Join(own.Dir, contract.TokenName))
	w.must(err)

	result, err := w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	if result.KeyID == old || result.Republished != 2 || result.Failed != 0 {
		t.Errorf("rotated: %+v", result)
	}
	for ref, last := range map[string]uint64{"box": before, "agent": 1} {
		if s := w.shareOf(ref); s.Token.KeyID != result.KeyID || s.Token.Generation != last+1 {
			t.Errorf("%s holds %+v", ref, s.Token)
		}
	}
	keys, err := w.client.Keys.List(t.Context())
	w.must(err)
	if len(keys) != 2 || !keys[0].Signs || keys[0].ID != result.KeyID || keys[0].Shares != 2 || keys[1].ID != old || keys[1].Shares != 0 {
		t.Errorf("the keys are %+v", keys)
	}
	if left := time.Until(keys[1].RetireAt); left < 119*time.Minute || left > 2*time.Hour {
		t.Errorf("the old key verifies for %v, its longest token lives 2 h", left)
	}
	if !w.verdict(token) {
		t.Error("the old key's token is refused")
	}

	_, err = w.client.Keys.Retire(t.Context(), result.KeyID, true)
	refused(t, err, api.CodeConflict, "the one that signs")
	_, err = w.client.Keys.Retire(t.Context(), "nope", false)
	refused(t, err, api.CodeNotFound, `no key "nope"`)
	_, err = w.client.Keys.Retire(t.Context(), old[:8], false)
	w.must(err)
	if w.verdict(token) {
		t.Error("a retired key's token is good")
	}
}

// TestRotateWithAFailingShare: the share that failed is counted and delays no other. Its old
// key can be retired only by force, and then the share is tried again at once.
func TestRotateWithAFailingShare(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	bad, old := w.share(api.ShareRequest{Name: "bad"}), g.keys.SigningKeyID()
	w.share(api.ShareRequest{Name: "good"})
	mend := w.breakShare(bad)
	result, err := w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	if result.Republished != 1 || result.Failed != 1 {
		t.Errorf("rotated: %+v", result)
	}
	_, err = w.client.Keys.Retire(t.Context(), old, false)
	refused(t, err, api.CodeConflict, "still held, by 1 of")
	mend()
	result, err = w.client.Keys.Retire(t.Context(), old, true)
	w.must(err)
	if result.Republished != 1 || w.shareOf("bad").Token.KeyID == old {
		t.Errorf("retired: %+v", result)
	}
}

// TestRetiredKeyOfAStopped: a stopped sandbox's token is not renewed. Once its key is
// retired, the token is shown as revoked, by the next gateway too. A start delivers a new
// token.
func TestRetiredKeyOfAStopped(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	w.create(api.CreateRequest{Name: "box"})
	w.start("box")
	old := g.keys.SigningKeyID()
	_, err := w.client.Stop(t.Context(), "box", 0)
	w.must(err)
	_, err = w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	if w.get("box").Token.Revoked {
		t.Error("revoked while its key verifies")
	}
	_, err = w.client.Keys.Retire(t.Context(), old, false)
	w.must(err)
	check := func(when string) {
		t.Helper()
		token, err := w.client.Tokens.Get(t.Context(), "box")
		w.must(err)
		list, err := w.client.List(t.Context())
		w.must(err)
		for what, seen := range map[string]api.Token{"inspect": w.get("box").Token, "ps": list[0].Token, "token": token, "share": w.shareOf("box").Token} {
			if !seen.Revoked || seen.ExpiresAt.IsZero() {
				t.Errorf("%s, %s: %+v", when, what, seen)
			}
		}
	}
	check("after the retirement")
	w.stop()
	w.run()
	w.eventually("the next gateway has read the token", func() bool { return w.get("box").Token.Generation > 0 })
	check("after a restart")
	w.start("box")
	if w.get("box").Token.Revoked {
		t.Error("revoked after a start")
	}
}

// TestJWKS: the public keys need no version header, because any program may verify tokens.
func TestJWKS(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	_, err := w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	response, answer := w.raw("GET", "/.well-known/jwks.json", "", nil)
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	w.must(json.Unmarshal([]byte(answer), &set))
	// Nothing was published by the first key, so it verifies nothing.
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "application/jwk-set+json" || len(set.Keys) != 1 {
		t.Fatalf("%d %s", response.StatusCode, answer)
	}
	for _, key := range set.Keys {
		if key["kid"] != g.keys.SigningKeyID() || key["d"] != "" || key["x"] == "" || key["kty"] != "OKP" {
			t.Errorf("a key: %v", key)
		}
	}
}

// TestOldLongLifetime: an older gateway made a share with a lifetime that is too long now.
// The share goes on with the longest lifetime that is allowed, and a rotation keeps the old
// key no longer than that.
func TestOldLongLifetime(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	s := w.share(api.ShareRequest{Name: "agent", TTL: time.Hour})
	w.must(g.byID(s.ID).Update(func(r *state.Record) { r.Request.TTL = 1<<63 - 1 }))
	w.stop()
	g = w.run()
	_, err := w.client.Tokens.Rotate(t.Context(), "agent")
	w.must(err)
	if _, expires := tokenOf(t, g, s.Dir); time.Until(expires) > tokens.MaxTTL {
		t.Errorf("the token expires %v", expires)
	}
	_, err = w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	list, err := w.client.Keys.List(t.Context())
	w.must(err)
	if len(list) != 2 || time.Until(list[1].RetireAt) > tokens.MaxTTL {
		t.Errorf("keys %+v", list)
	}
	if now := w.shareOf("agent"); now.TTL != tokens.MaxTTL {
		t.Errorf("the share says that its tokens live for %v", now.TTL)
	}
}
