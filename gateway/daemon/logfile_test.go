package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway"
)

func TestLogIsBounded(t *testing.T) {
	f := &rotated{path: filepath.Join(t.TempDir(), "log"), max: 100}
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, err := f.Write([]byte("0123456789")); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{f.path, f.path + ".1"} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 || info.Size() > 100 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

// TestOddLog: what is in the log's place and is no file is refused, and delays nobody.
func TestOddLog(t *testing.T) {
	for kind, make := range map[string]func(path string) error{
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
		"dangling":  func(path string) error { return os.Symlink("/nowhere/at/all", path) },
		"loop":      func(path string) error { return os.Symlink(path, path) },
		"socket":    func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
	} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			if err := make(filepath.Join(dir, gateway.LogFile)); err != nil {
				t.Fatal(err)
			}
			done := beside(func() error { _, err := LogTo(dir, 0); return err })
			select {
			case err := <-done:
				if err == nil {
					t.Error("it is taken")
				}
			case <-time.After(patience):
				t.Fatal("it hangs")
			}
		})
	}
}

// patience bounds one wait for something to happen.
const patience = 30 * time.Second

// beside runs f beside the test.
func beside(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}
