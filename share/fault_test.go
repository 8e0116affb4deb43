package share

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

// traceSyncs calls note for every fsync and lets the failAt-th fail. These tests can't
// run in parallel with others that publish durably.
func traceSyncs(t *testing.T, failAt int, note func(path string)) {
	t.Helper()
	t.Cleanup(func() { fsync = unix.Fsync })
	calls := 0
	fsync = func(fd int) error {
		path, err := os.Readlink(procPath(fd))
		if err != nil {
			return err
		}
		note(filepath.Base(path))
		if calls++; calls == failAt {
			return unix.EIO
		}
		return unix.Fsync(fd)
	}
}

func TestDurableSyncsInOrder(t *testing.T) {
	var trace []string
	step := func(n int) {
		if n == 10 {
			trace = append(trace, "commit")
		}
	}
	for _, c := range []struct {
		durable bool
		first   string
		again   string // with the links to names already there
	}{
		{true, "a b ..gen-00000001 commit auth auth", "a b ..gen-00000002 commit auth"},
		{false, "commit", "commit"},
	} {
		s := newTestShare(t, Options{Durable: c.durable, Step: step})
		for _, want := range []string{c.first, c.again} {
			trace = nil
			traceSyncs(t, 0, func(path string) { trace = append(trace, path) })
			mustPublish(t, s, provenFiles("a", "b"))
			if got := strings.Join(trace, " "); got != want {
				t.Errorf("durable=%v: synced %s, want %s", c.durable, got, want)
			}
		}
	}
}

func TestFailedSync(t *testing.T) {
	for failAt := 1; failAt <= 4; failAt++ {
		s := newTestShare(t, Options{Durable: true})
		mustPublish(t, s, provenFiles("a", "b"))
		before := entries(t, s)
		traceSyncs(t, failAt, func(string) {})
		p, err := s.Publish(t.Context(), 0, provenFiles("a", "b"))
		if !errors.Is(err, unix.EIO) {
			t.Errorf("sync %d failed, but Publish gives %v", failAt, err)
		}
		if failAt < 4 { // before the commit
			if p.Changed {
				t.Errorf("sync %d failed: %+v", failAt, p)
			}
			wantEntries(t, s, before...)
			wantFiles(t, s, File{Name: "a", Data: proven(1, "a")}, File{Name: "b", Data: proven(1, "b")})
		} else {
			if p.Generation != 2 || !p.Changed {
				t.Errorf("the sync after the commit failed: %+v", p)
			}
			wantFiles(t, s, File{Name: "a", Data: proven(2, "a")}, File{Name: "b", Data: proven(2, "b")})
		}
		if p := mustPublish(t, s, provenFiles("a", "b")); p.Generation != 3 {
			t.Errorf("the next publish gives %+v, want 3: 2 was begun", p)
		}
		wantFiles(t, s, File{Name: "a", Data: proven(3, "a")}, File{Name: "b", Data: proven(3, "b")})
	}
}

// TestFailedCommitCleansUp checks that a failed commit removes its generation, its link
// and old generations: those may be what fills the disk.
func TestFailedCommitCleansUp(t *testing.T) {
	s := newTestShare(t, plainOptions)
	mustPublish(t, s, provenFiles("a"))
	mustPublish(t, s, provenFiles("a"))
	superseded(t, s, 2, time.Now().Add(-time.Hour))
	opts := s.opts
	opts.Step = func(n int) {
		if n == 9 {
			os.Mkdir(filepath.Join(s.AuthDir(), layout.New(3)), 0o700)
		}
	}
	sabotaged, err := Open(s.Dir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := sabotaged.Publish(t.Context(), 0, provenFiles("a")); !errors.Is(err, fs.ErrExist) || p != (Published{}) {
		t.Errorf("publish gives %+v, %v", p, err)
	}
	wantEntries(t, s, "a", layout.Data, layout.Generation(2), layout.Announcement(2))
}

// TestAuthRenamedAtEveryStep renames auth/ during a publish. The publish has to stay in
// the directory that it opened and to make no second one.
func TestAuthRenamedAtEveryStep(t *testing.T) {
	for at := 1; at <= 15; at++ {
		s := newTestShare(t, plainOptions)
		mustPublish(t, s, provenFiles("a"))
		moved := filepath.Join(s.Dir(), "moved")
		opts := s.opts
		opts.Step = func(n int) {
			if n == at {
				if err := errors.Join(os.Chmod(s.AuthDir(), 0o755), os.Rename(s.AuthDir(), moved)); err != nil {
					t.Fatal(err)
				}
			}
		}
		sabotaged, err := Open(s.Dir(), opts)
		if err != nil {
			t.Fatal(err)
		}
		p, err := sabotaged.Publish(t.Context(), 0, provenFiles("a"))
		if at == 1 {
			if !errors.Is(err, fs.ErrNotExist) || p.Changed {
				t.Errorf("auth was gone before the publish, which gives %+v, %v", p, err)
			}
			continue
		}
		// The publish wrote through its descriptor, to the renamed directory.
		got, rerr := Read(moved)
		if err != nil || rerr != nil || got.Generation != p.Generation {
			t.Errorf("step %d: %+v, %v; a reader finds %d, %v", at, p, err, got.Generation, rerr)
		}
		if list, _ := os.ReadDir(s.Dir()); slices.ContainsFunc(list, func(e fs.DirEntry) bool { return e.Name() == layout.Auth }) {
			t.Errorf("step %d: auth was made anew", at)
		}
	}
}
