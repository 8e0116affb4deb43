package roster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/inode"
	"openshell-vm/internal/vocab"
	"openshell-vm/internal/whichdir"
	"openshell-vm/internal/whichdir/deadfs"
)

// TestDeadMount: a sandbox can write to a file system that does not answer, and a share follows a
// file there. All other files are judged as ever.
func TestDeadMount(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"dead", "good", "mount"} {
		if err := os.Mkdir(in(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"good/file", "mount/file"} {
		if err := os.WriteFile(in(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := New(&state.Home{Places: state.Places{State: home, Runtime: home, Shares: home}}, lease.Options{}, func() {})
	for id, q := range map[string]state.Request{
		"aaaaaaaaaaaa": {Mounts: []vocab.Mount{{Source: in("dead"), Target: "/m", Writable: true}, {Source: in("mount"), Target: "/n", Writable: true}}},
		"bbbbbbbbbbbb": {Sources: []vocab.Source{{Name: "d", File: in("dead/file")}, {Name: "e", OAuth: in("dead/o")}, {Name: "f", File: in("good/file")}}},
	} {
		it, err := r.NewItem(&state.Record{ID: id, Name: "box" + id, Share: in(id), Request: q}, owner{})
		if err == nil {
			err = r.Add(it)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, known := range []bool{false, true} {
		if known {
			for r.asker.Ask(in("dead"))[0].Hangs != "" { // until who hung there has got the error
				time.Sleep(time.Millisecond)
			}
			r.changed()
			if err := r.MayFollow(in("dead/file")); err == nil {
				t.Error("a file that a sandbox can write is followed")
			}
		}
		dies(t, r, in)
	}
}

// dies is TestDeadMount with a mount of which may be known what it was.
func dies(t *testing.T, r *Roster, in func(string) string) {
	t.Helper()
	end := deadfs.Mount(t, in("dead"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10 {
			if err := r.MayFollow(in("good/file")); err != nil {
				t.Errorf("a file elsewhere: %v", err)
			}
			if err := r.MayFollow(in("mount/file")); err == nil || !strings.Contains(err.Error(), "can write to") {
				t.Errorf("a file that a sandbox can write: %v", err)
			}
			r.changed()
		}
		mount := func(name string) error {
			return r.MayWrite([]vocab.Mount{{Source: in(name), Target: "/m", Writable: true}}, "", false)
		}
		if err := mount("mount"); err != nil {
			t.Errorf("a mount elsewhere: %v", err)
		}
		if err := mount("good"); err == nil || !strings.Contains(err.Error(), "good/file is followed") {
			t.Errorf("a mount where a file is followed: %v", err)
		}
		if err := mount("dead"); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("the mount itself: %v", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Error("it waits for what does not answer")
	}
	end()
	<-done
}

// TestUnknownDirectory: what lies on a device that never answered could lie in any directory there.
func TestUnknownDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	id, err := inode.Of(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, device := range []string{whichdir.Device(id), whichdir.Unknown} {
		no := &refusals{}
		no.add(whichdir.Answer{Hangs: device}, "it lies in x")
		if err := no.judge(file); err == nil || !strings.Contains(err.Error(), "perhaps it lies in x, and its file system does not answer") {
			t.Errorf("device %s: %v", device, err)
		}
	}
}
