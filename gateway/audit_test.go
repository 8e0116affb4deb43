package gateway

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audit"
	"openshell-vm/internal/contract"
)

// TestAudit: the log has each publish with the token's id, each change of keys and each refusal,
// and no token. It is the same after a restart.
func TestAudit(t *testing.T) {
	w := newWorld(t)
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
		case e.What == audit.Publish && (e.Name != "agent" || e.Sandbox != own.ID || e.TokenID == "" || e.Generation == 0 ||
			e.KeyID != old && e.KeyID != rotated.KeyID || e.Expires.IsZero()),
			e.What == audit.Rotate && e.KeyID != rotated.KeyID, e.What == audit.Retire && e.KeyID != old,
			e.What == audit.Refusal && e.Reason == "", e.Time.IsZero():
			t.Errorf("%s", line)
		}
	}
	want := []string{audit.Begin, audit.Publish, audit.Publish, audit.Rotate, audit.Retire, audit.Refusal, audit.Remove, audit.Begin}
	slices.Sort(what) // a rotation's publishes may be noted before it
	slices.Sort(want)
	if !slices.Equal(what, want) {
		t.Errorf("%q, not %q", what, want)
	}
}
