package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/share/layout"
)

// victim makes a tree outside the share that planted links point to. It looks like a
// generation, so that following a link would succeed.
func victim(t *testing.T) (dir string, unharmed func()) {
	t.Helper()
	dir = fastDir(t) // where shares are: a hard link must be possible
	for _, name := range []string{"token", "meta", "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("victim's "+name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := describe(t, dir)
	return dir, func() {
		t.Helper()
		if after := describe(t, dir); after != before {
			t.Errorf("the tree outside the share was\n%sand is\n%s", before, after)
		}
	}
}

// describe lists everything about a tree except access times.
func describe(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		data, _ := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %o %d %d %v %q\n", path, st.Mode, st.Uid, st.Size, st.Mtim, data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPlantedInAuth puts something foreign at every name that the package uses in auth/.
// It must not be followed, must not stop the next publish, and must be gone after that.
func TestPlantedInAuth(t *testing.T) {
	names := []string{
		layout.Data, layout.New(2), layout.New(3), "..new", // as it was named once
		layout.Generation(1), layout.Generation(2), layout.Generation(3), // old, current, next
		layout.Announcement(1), layout.Announcement(2), layout.Announcement(3),
		"token", "meta", "foreign", "..foreign",
		layout.Generation(1) + "/token", layout.Generation(2) + "/token", layout.Generation(2) + "/foreign",
	}
	plants := map[string]func(path, outside string) error{
		"link to directory": func(path, outside string) error { return os.Symlink(outside, path) },
		"link to file":      func(path, outside string) error { return os.Symlink(outside+"/secret", path) },
		"relative link":     func(path, outside string) error { return os.Symlink("../../../../../../../.."+outside, path) },
		"dangling link":     func(path, outside string) error { return os.Symlink(outside+"/missing", path) },
		"FIFO":              func(path, _ string) error { return syscall.Mkfifo(path, 0o666) },
		"file":              func(path, _ string) error { return os.WriteFile(path, []byte("planted"), 0o666) },
		"directory with link": func(path, outside string) error {
			return errors.Join(os.MkdirAll(path+"/deep", 0o755), os.Symlink(outside, path+"/deep/link"))
		},
	}
	for kind, plant := range plants {
		for _, name := range names {
			t.Run(kind+"/"+name, func(t *testing.T) {
				testPlanted(t, name, plant, (*Share).Repair)
				testPlanted(t, name, plant, func(s *Share, ctx context.Context) error { // an unchanged publish
					_, err := s.Publish(ctx, 0, func(uint64) ([]File, error) { return provenFiles("token", "meta")(2) })
					return err
				})
			})
		}
	}
}

// testPlanted plants something at a name. mend is the first call that finds it.
func testPlanted(t *testing.T, name string, plant func(path, outside string) error, mend func(*Share, context.Context) error) {
	t.Helper()
	s := newTestShare(t, plainOptions)
	outside, unharmed := victim(t)
	mustPublish(t, s, provenFiles("token", "meta"))
	mustPublish(t, s, provenFiles("token", "meta"))
	path := filepath.Join(s.AuthDir(), name)
	removable(s.AuthDir())
	if err := errors.Join(os.RemoveAll(path), plant(path, outside)); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(s.AuthDir()); err == nil {
		wantNothingForeign(t, got)
	}
	if err := mend(s, t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	p := mustPublish(t, s, provenFiles("token", "meta"))
	if _, err := s.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, s, File{Name: "token", Data: proven(p.Generation, "token")}, File{Name: "meta", Data: proven(p.Generation, "meta")})
	wantEntries(t, s, "token", "meta", layout.Data, layout.Generation(p.Generation), layout.Announcement(p.Generation))
	if err := s.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	unharmed()
}

func wantNothingForeign(t *testing.T, s Snapshot) {
	t.Helper()
	for name, data := range s.Files {
		if strings.Contains(string(data), "victim") {
			t.Errorf("Read followed a link: %s is %q", name, data)
		}
	}
}

// TestPlantedAroundAuth replaces the share's directory, auth/ or the lock file by a link.
// The share has to be refused: this can't be repaired.
func TestPlantedAroundAuth(t *testing.T) {
	for _, name := range []string{"", layout.Auth, layout.Lock} {
		for _, target := range []string{"", "secret"} {
			t.Run(name+"->"+target, func(t *testing.T) {
				s := newTestShare(t, plainOptions)
				mustPublish(t, s, provenFiles("token"))
				outside, unharmed := victim(t)
				path := filepath.Join(s.Dir(), name)
				moved := filepath.Join(fastDir(t), "moved")
				t.Cleanup(func() { removable(moved) })
				if err := errors.Join(os.Rename(path, moved), os.Symlink(filepath.Join(outside, target), path)); err != nil {
					t.Fatal(err)
				}
				if _, err := Open(s.Dir(), plainOptions); err == nil {
					t.Error("Open followed a link")
				}
				if _, err := Create(s.Dir(), plainOptions); err == nil {
					t.Error("Create followed a link")
				}
				if _, err := s.Publish(t.Context(), 0, provenFiles("token")); err == nil {
					t.Error("Publish followed a link")
				}
				if err := s.Repair(t.Context()); err == nil {
					t.Error("Repair followed a link")
				}
				_ = s.Remove(t.Context()) // may remove the link itself
				unharmed()
			})
		}
	}
}

// TestDamagedDataIsRestored destroys ..data. The share has to go back to the newest
// generation that is known to be complete.
func TestDamagedDataIsRestored(t *testing.T) {
	s := newTestShare(t, plainOptions)
	mustPublish(t, s, provenFiles("token"))
	mustPublish(t, s, provenFiles("token"))
	half := filepath.Join(s.AuthDir(), layout.Generation(3)) // not announced: may be anything
	if err := errors.Join(os.Remove(filepath.Join(s.AuthDir(), layout.Data)), os.Mkdir(half, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := s.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, s, File{Name: "token", Data: proven(2, "token")})
	if p := mustPublish(t, s, provenFiles("token")); p.Generation != 4 {
		t.Errorf("number 3 was begun, but the next publish gives %+v", p)
	}
}

// TestRepairTakesFalseAnnouncementsAway checks that a repair removes an announcement
// without a generation: a guest would believe it.
func TestRepairTakesFalseAnnouncementsAway(t *testing.T) {
	s := newTestShare(t, plainOptions)
	mustPublish(t, s, provenFiles("token"))
	before := entries(t, s)
	if err := os.WriteFile(filepath.Join(s.AuthDir(), layout.Announcement(7)), nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := s.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, s, before...)
}

// TestNumberOfLostGenerationIsNotUsedAgain checks that the number in a dangling ..data
// counts as used, even if the lock file with its note was lost.
func TestNumberOfLostGenerationIsNotUsedAgain(t *testing.T) {
	s := newTestShare(t, plainOptions)
	data := filepath.Join(s.AuthDir(), layout.Data)
	if err := errors.Join(os.Symlink(layout.Generation(9), data), os.Remove(filepath.Join(s.Dir(), layout.Lock))); err != nil {
		t.Fatal(err)
	}
	if p := mustPublish(t, s, provenFiles("token")); p.Generation != 10 {
		t.Errorf("the next publish gives %+v, want 10", p)
	}
}

// TestPlantedWhileWriting lets a foreign file appear in a new generation while it is
// written. Nothing may be written to that file.
func TestPlantedWhileWriting(t *testing.T) {
	outside, unharmed := victim(t)
	s := newTestShare(t, plainOptions)
	opts := s.opts
	opts.Step = func(n int) {
		if n == 7 {
			os.Link(filepath.Join(outside, "token"), filepath.Join(s.AuthDir(), layout.Generation(1), "token"))
		}
	}
	sabotaged, err := Open(s.Dir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := sabotaged.Publish(t.Context(), 0, provenFiles("token")); !errors.Is(err, fs.ErrExist) || p.Changed {
		t.Errorf("publish gives %+v, %v", p, err)
	}
	wantEntries(t, s)
	unharmed()
}
