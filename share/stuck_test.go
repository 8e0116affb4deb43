package share

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

// TestStuck puts a mount point, which can't be removed, at several names in auth/.
func TestStuck(t *testing.T) { inMountNamespace(t, "stuck") }

func childStuck(args []string) error {
	keepMounts()
	for _, name := range []string{
		"planted", "..planted", "..new", layout.New(2), layout.Generation(1), layout.Generation(9), layout.Announcement(9),
	} {
		if err := onSmallDisk(args[0], "", func(s *Share) error { return stuckAt(s, name) }); err != nil {
			return fmt.Errorf("%s can't be removed: %w", name, err)
		}
	}
	return onSmallDisk(args[0], "", nameIsStuck)
}

// mountAt makes name in auth/ a mount point with a file in it.
func mountAt(s *Share, name string) (dir string, err error) {
	dir = filepath.Join(s.AuthDir(), name)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	if err := unix.Mount("share-test", dir, "tmpfs", 0, ""); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "theirs"), []byte("theirs"), 0o600)
}

// stuckAt publishes several times. The publishes have to succeed with a warning and must
// not touch the mounted files. After the unmount nothing may be left.
func stuckAt(s *Share, name string) error {
	ctx := context.Background()
	for range 2 {
		if _, err := s.Publish(ctx, 0, provenFiles("a")); err != nil {
			return err
		}
	}
	dir, err := mountAt(s, name)
	if err != nil {
		return err
	}
	always := name != layout.Generation(9) && name != layout.Announcement(9) // these two count as old ones, in their grace, after the next publish
	for i := range 3 {
		if name == layout.Generation(1) { // it is past the grace
			if err := os.Chtimes(filepath.Join(s.AuthDir(), layout.Announcement(2)), time.Time{}, time.Now().Add(-time.Hour)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		p, err := s.Publish(ctx, 0, provenFiles("a"))
		if err != nil || !p.Changed {
			return fmt.Errorf("publish gives %+v, %w", p, err)
		}
		if i > 0 && !always {
			break
		}
		if p.Warning == nil || !strings.Contains(p.Warning.Error(), "remove "+dir+": device or resource busy") || strings.Count(p.Warning.Error(), dir) > 1 {
			return fmt.Errorf("it is not told once: %w", p.Warning)
		}
		if got, err := Read(s.AuthDir()); err != nil || string(got.Files["a"]) != string(proven(p.Generation, "a")) {
			return fmt.Errorf("a reader finds %q, %w", got.Files["a"], err)
		}
		if _, err := os.Lstat(filepath.Join(s.AuthDir(), layout.Announcement(p.Generation))); err != nil {
			return err
		}
		if err := s.Repair(ctx); always && name != layout.Generation(1) && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("repair gives %w", err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "theirs")); err != nil || string(data) != "theirs" {
		return fmt.Errorf("what is mounted there was touched: %q, %w", data, err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		return err
	}
	return recovers(s, "")
}

// nameIsStuck puts the mount point at a published name. That is an error, because nobody
// can open the file. The other file is there, and the generation is announced.
func nameIsStuck(s *Share) error {
	ctx := context.Background()
	if _, err := s.Publish(ctx, 0, provenFiles("b")); err != nil {
		return err
	}
	if _, err := mountAt(s, "a"); err != nil {
		return err
	}
	p, err := s.Publish(ctx, 0, provenFiles("a", "b", "c"))
	if !errors.Is(err, unix.EBUSY) || !p.Changed {
		return fmt.Errorf("publish gives %+v, %w", p, err)
	}
	for _, name := range []string{"b", "c"} {
		if data, err := os.ReadFile(filepath.Join(s.AuthDir(), name)); err != nil || string(data) != string(proven(p.Generation, name)) {
			return fmt.Errorf("opening %s gives %q, %w", name, data, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(s.AuthDir(), layout.Announcement(p.Generation))); err != nil {
		return err
	}
	return nil
}

// TestImmutable has an immutable file in an old generation. Removing it fails with EPERM,
// as unlinking a directory may; it must not be taken for a directory. The other files of
// the generation have to be removed.
func TestImmutable(t *testing.T) {
	s := newTestShare(t, Options{Durable: true}) // on a disk
	mustPublish(t, s, provenFiles("a", "b"))
	mustPublish(t, s, provenFiles("a", "b"))
	superseded(t, s, 2, time.Now().Add(-time.Hour))
	planted := filepath.Join(s.AuthDir(), "planted")
	if err := os.WriteFile(planted, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	immutable(t, planted)
	immutable(t, filepath.Join(s.AuthDir(), layout.Generation(1), "a"))
	p := mustPublish(t, s, provenFiles("a", "b"))
	if !errors.Is(p.Warning, unix.EPERM) || errors.Is(p.Warning, unix.ENOTDIR) {
		t.Errorf("the warning is %v", p.Warning)
	}
	for _, told := range []string{planted, filepath.Join(layout.Generation(1), "a")} {
		if !strings.Contains(p.Warning.Error(), told) {
			t.Errorf("%s is not told: %v", told, p.Warning)
		}
	}
	if _, err := os.Lstat(filepath.Join(s.AuthDir(), layout.Generation(1), "b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the other file of the old generation: %v", err)
	}
	wantFiles(t, s, File{Name: "a", Data: proven(3, "a")}, File{Name: "b", Data: proven(3, "b")})
}

const immutableFlag = 0x10 // FS_IMMUTABLE_FL of linux/fs.h

// immutable sets the attribute i. Only root can do that.
func immutable(t *testing.T, path string) {
	t.Helper()
	set := func(flags int) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	if err := set(immutableFlag); err != nil {
		need(t, "the attribute immutable: "+err.Error())
	}
	t.Cleanup(func() {
		if err := set(0); err != nil {
			t.Error(err)
		}
	})
}

// TestWarningIsBounded checks that a warning about many files is one short text.
func TestWarningIsBounded(t *testing.T) {
	tx := &txn{}
	for i := range 1000 {
		tx.warn(&Error{Op: "remove", Path: fmt.Sprint(i % 500), Err: unix.EPERM})
	}
	text := tx.warning().Error()
	if len(text) > 200 || !strings.Contains(text, "and 497 more") || !errors.Is(tx.warning(), unix.EPERM) {
		t.Errorf("it says %q", text)
	}
	if (&txn{}).warning() != nil {
		t.Error("nothing is a warning")
	}
}
