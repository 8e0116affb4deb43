package driverstest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// source is a fresh directory of the user's, with a file and a subdirectory.
func (s *suite) source(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(s.Dir, "sources"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o777), os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o666),
		os.Mkdir(filepath.Join(dir, "sub"), 0o777)); err != nil {
		t.Fatal(err)
	}
	return dir
}

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
