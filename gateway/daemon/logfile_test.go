package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/state"

	"golang.org/x/sys/unix"
)

// TestLogIsBounded checks that a gateway appends to the log of earlier ones, and that all
// of it stays within the bound.
func TestLogIsBounded(t *testing.T) {
	dir := t.TempDir()
	line := strings.Repeat("x", 64<<10)
	for start := range 10 {
		log, err := LogTo(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			log.Info(line, "start", start)
		}
	}
	path := filepath.Join(dir, state.LogFile)
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 2 {
		t.Errorf("%q, %v", files, err)
	}
	var all []byte
	for _, file := range []string{path + ".1", path} {
		data, err := os.ReadFile(file)
		if err != nil || len(data) > maxLog {
			t.Errorf("%s: %d bytes, %v", file, len(data), err)
		}
		all = append(all, data...)
	}
	if n := strings.Count(string(all), "start=9\n"); n != 20 || len(all) < maxLog || !strings.HasSuffix(string(all), "start=9\n") {
		t.Errorf("%d bytes, %d lines of the last start", len(all), n)
	}
}

// TestOddLog checks that anything but a file in the log's place is refused at once.
func TestOddLog(t *testing.T) {
	for kind, put := range map[string]func(path string) error{
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
		"dangling":  func(path string) error { return os.Symlink("/nowhere/at/all", path) },
		"loop":      func(path string) error { return os.Symlink(path, path) },
		"socket":    func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
	} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			if err := put(filepath.Join(dir, state.LogFile)); err != nil {
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

// beside runs f in another goroutine.
func beside(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}
