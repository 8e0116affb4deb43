package gateway

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audit"
	"openshell-vm/internal/contract"
)

// TestAudit: the log has each publish with the token's id, each change of keys and each refusal,
// and no token. It is the same after a restart.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	w.configure("")
	g := w.run()
	own := w.share(api.ShareRequest{Name: "agent"})
	token, err := os.ReadFile(filepath.Join(own.Dir, contract.TokenName))
	w.must(err)
	old := g.keys.SigningKeyID()
	rotated, err := w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	_, err = w.client.Keys.Retire(t.Context(), old, true)
	w.must(err)
	if w.verdict(token) {
		t.Error("a retired key's token is good")
	}
	w.must(w.client.Shares.Remove(t.Context(), "agent", true))
	w.configure("issuer = \"https://tokens.example\"\n")
	_, err = w.client.Config.Reload(t.Context())
	w.must(err)
	_, err = w.client.Keys.Rotate(t.Context(), api.RotateRequest{PublishFor: new(time.Hour)})
	w.must(err)
	pending, err := w.client.Keys.List(t.Context())
	w.must(err)
	for _, key := range pending {
		if key.State == "pending" {
			_, err := w.client.Keys.Retire(t.Context(), key.ID, false)
			w.must(err)
		}
	}

	w.stop()
	w.run()
	var text bytes.Buffer
	w.must(w.client.Audit(t.Context(), false, &text))
	if bytes.Contains(text.Bytes(), token[:20]) || bytes.Contains(text.Bytes(), token[len(token)-20:]) {
		t.Error("the log holds a token")
	}
	var what []string
	for line := range bytes.Lines(text.Bytes()) {
		var e audit.Event
		w.must(json.Unmarshal(line, &e))
		what = append(what, e.What)
		switch {
		case e.What == audit.Mint && (e.Name != "agent" || e.Sandbox != own.ID || e.TokenID == "" || e.Generation == 0 ||
			e.KeyID != old && e.KeyID != rotated.KeyID || e.Expires.IsZero() || e.Audience == "" || e.Subject == ""),
			e.What == audit.Publish && (e.Name != "agent" || e.Sandbox != own.ID || e.Generation == 0),
			e.What == audit.Issuer && (e.Issuer != "https://tokens.example" || e.Reason != "trust domain openshell"),
			slices.Contains([]string{audit.Rotate, audit.Sign, audit.Retire}, e.What) && (e.KeyID == "" || e.Reason == ""),
			e.What == audit.Refusal && e.Reason == "", e.Time.IsZero():
			t.Errorf("%s", line)
		}
	}
	want := []string{audit.Begin, audit.Rotate, audit.Sign, // the first key
		audit.Mint, audit.Publish, audit.Rotate, audit.Sign, audit.Mint, audit.Publish, audit.Retire, audit.Refusal, audit.Remove,
		audit.Issuer, audit.Rotate, audit.Sign, audit.Rotate, audit.Sign, // keys that others take
		audit.Rotate, audit.Rotate, audit.Rotate, audit.Retire, audit.Retire, audit.Retire, audit.Begin}
	slices.Sort(what) // a rotation's publishes may be noted before it
	slices.Sort(want)
	if !slices.Equal(what, want) {
		t.Errorf("%q, not %q", what, want)
	}
}
