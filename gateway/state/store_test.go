package state

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRecordSurvives has a new record that was cut off at any byte. The old record has to
// be read, and the next write has to succeed.
func TestRecordSurvives(t *testing.T) {
	h := open(t)
	old := &Record{Version: Version, ID: NewID(), Name: "old", Share: "/x"}
	must(t, os.Mkdir(h.SandboxDir(old.ID), 0o700))
	must(t, h.Save(old))
	data, err := json.Marshal(&Record{Version: Version, ID: old.ID, Name: "new", Share: "/x"})
	must(t, err)
	for cut := range len(data) {
		must(t, os.WriteFile(h.RecordPath(old.ID)+".new", data[:cut], 0o600))
		if r, err := h.Load(old.ID); err != nil || r.Name != "old" {
			t.Fatalf("cut off after %d bytes: %+v, %v", cut, r, err)
		}
	}
	next := *old
	next.Name = "next"
	must(t, h.Save(&next))
	if r, err := h.Load(old.ID); err != nil || r.Name != "next" {
		t.Errorf("%+v, %v", r, err)
	}
	info, err := os.Stat(h.RecordPath(old.ID))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestForgetUnderWriters removes a sandbox's directory while a renewal writes there.
func TestForgetUnderWriters(t *testing.T) {
	h := open(t)
	for i := range 200 {
		id := fmt.Sprintf("box%d", i)
		dir := h.SandboxDir(id)
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, RecordFile), nil, 0o600))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for os.WriteFile(filepath.Join(dir, RecordFile+NewSuffix), nil, 0o600) == nil {
				_ = os.Rename(filepath.Join(dir, RecordFile+NewSuffix), filepath.Join(dir, RecordFile))
			}
		}()
		if err := h.Forget(id); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		<-ended
	}
}

// TestNewDirectoriesAreDurable checks that parent directories are synced: a record and a
// share survive a power failure only if their directories' names do.
func TestNewDirectoriesAreDurable(t *testing.T) {
	h := open(t)
	if OnTmpfs(h.State) {
		t.Skip("nothing on a tmpfs is durable")
	}
	synced := map[string]bool{}
	old := syncDir
	t.Cleanup(func() { syncDir = old })
	syncDir = func(path string) error {
		synced[path] = true
		return old(path)
	}
	must(t, h.MakeSandboxDir("abcdefghijkl"))
	must(t, MakeDir(filepath.Dir(h.NamedShare("agent"))))
	for _, dir := range []string{h.State, h.Sandboxes()} {
		if !synced[dir] {
			t.Errorf("%s was not synced, but %v", dir, synced)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "A-1_b.c": true, strings.Repeat("x", 63): true,
		"": false, "-a": false, ".a": false, "a/b": false, "a b": false, "a\n": false, "ä": false, "../x": false, strings.Repeat("x", 64): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	if id := NewID(); !IsID(id) {
		t.Errorf("made up the id %q", id)
	}
}
