package driverstest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"openshell-vm/drivers/driverstest/trees"
)

// source is a fresh directory of the user's: see trees.Source.
func (s *suite) source(t *testing.T) string { return trees.Source(t, filepath.Join(s.Dir, "sources")) }

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// mounted mounts a tmpfs, where the suite may, until the test's end.
func (s *suite) mounted(t *testing.T, dir string) bool {
	t.Helper()
	if !s.Mountable {
		return false
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0777"); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return true
}
