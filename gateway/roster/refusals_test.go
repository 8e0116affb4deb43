package roster

import (
	"os"
	"path/filepath"
	"testing"

	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/vocab"
)

// TestMayFollowNow: what sandboxes can write to counts as soon as a record has it, and no longer.
func TestMayFollowNow(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	r := New(&state.Home{Places: state.Places{State: home, Runtime: home, Shares: home}}, lease.Options{}, func() {})
	may := func(when string, want bool) {
		t.Helper()
		if err := r.MayFollow(file); (err == nil) != want {
			t.Errorf("%s: %v", when, err)
		}
	}
	may("without any sandbox", true)
	it, err := r.NewItem(&state.Record{ID: "aaaaaaaaaaaa", Name: "box", Share: filepath.Join(home, "share"),
		Request: state.Request{Mounts: []vocab.Mount{{Source: dir, Target: "/m", Writable: true}}}}, owner{})
	if err == nil {
		err = r.Add(it)
	}
	if err != nil {
		t.Fatal(err)
	}
	may("with one that can write to it", false)
	r.Drop(it)
	may("without that", true)
}
