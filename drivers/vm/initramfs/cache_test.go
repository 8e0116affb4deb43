package initramfs

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOddCache puts something other than a file in an archive's place. It must not delay anybody, and
// has to make room for an archive.
func TestOddCache(t *testing.T) {
	sum := newSum()
	io.WriteString(sum, "archive")
	name := sum.name("key")
	for kind, make := range map[string]func(path string) error{
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
		"link":      func(path string) error { return os.Symlink("/nowhere/at/all", path) },
		"part":      func(path string) error { return os.WriteFile(path, []byte("arch"), 0o600) },
	} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			if err := make(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			done := beside(func() {
				if found := find(dir, "key"); found != "" {
					t.Errorf("%s was taken", found)
				}
				built, err := build(dir, "key", func(w io.Writer) error { _, err := io.WriteString(w, "archive"); return err })
				if data, _ := os.ReadFile(built); err != nil || string(data) != "archive" || built != find(dir, "key") {
					t.Errorf("%s: %q, %v", built, data, err)
				}
				if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
					t.Errorf("left: %v, %v", left, err)
				}
			})
			select {
			case <-done:
			case <-time.After(30 * time.Second):
				t.Fatal("it hangs")
			}
		})
	}
}

func beside(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return done
}
