package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// content reads a file and checks that only its owner may read it.
func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	return string(data)
}

// steps records the steps of a write and makes the named one fail.
func steps(t *testing.T, failing string) *[]string {
	done := &[]string{}
	oldFile, oldRename, oldDir := syncFile, rename, syncDir
	t.Cleanup(func() { syncFile, rename, syncDir = oldFile, oldRename, oldDir })
	step := func(name string) error {
		*done = append(*done, name)
		if name == failing {
			return errFault
		}
		return nil
	}
	syncFile = func(f *os.File) error { return errors.Join(step("content"), oldFile(f)) }
	rename = func(from, to string) error {
		if err := step("rename"); err != nil {
			return err
		}
		return oldRename(from, to)
	}
	syncDir = func(dir string) error { return errors.Join(step("directory "+filepath.Base(dir)), oldDir(dir)) }
	return done
}

var errFault = errors.New("fault")

func TestOrder(t *testing.T) {
	for sync, want := range map[Sync][]string{
		Durable: {"content", "rename", "directory d"}, Whole: {"content", "rename"}, Volatile: {"rename"},
	} {
		dir := filepath.Join(t.TempDir(), "d")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		done := steps(t, "")
		if err := Write(filepath.Join(dir, "f"), filepath.Join(dir, "f.new"), []byte("x"), sync); err != nil || !slices.Equal(*done, want) {
			t.Errorf("%d: %q, %v", sync, *done, err)
		}
	}
}

// TestFaults lets each step fail. Only the old file is left then. After the last step,
// the sync of the directory, only the new one is left.
func TestFaults(t *testing.T) {
	for failing, want := range map[string]string{"content": "old", "rename": "old", "directory d": "new"} {
		for _, temporary := range []string{"f.new", "f.new-*"} {
			t.Run(failing+" "+temporary, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "d")
				path := filepath.Join(dir, "f")
				if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(path, []byte("old"), 0o600)); err != nil {
					t.Fatal(err)
				}
				steps(t, failing)
				if err := Write(path, filepath.Join(dir, temporary), []byte("new"), Durable); !errors.Is(err, errFault) {
					t.Errorf("error %v", err)
				}
				left, err := os.ReadDir(dir)
				if got := content(t, path); got != want || err != nil || len(left) != 1 {
					t.Errorf("content %q, left %v, %v", got, left, err)
				}
			})
		}
	}
}

// TestLeftovers checks that leftovers of a killed writer are replaced, whatever they are.
// Nothing is written through a link.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	path, temporary, other := filepath.Join(dir, "f"), filepath.Join(dir, "f.new"), filepath.Join(dir, "other")
	for name, leave := range map[string]func() error{
		"part": func() error { return os.WriteFile(temporary, []byte("part of a longer one"), 0o644) },
		"link": func() error { return os.Symlink(other, temporary) },
		"hard": func() error { return errors.Join(os.WriteFile(other, nil, 0o600), os.Link(other, temporary)) },
		"fifo": func() error { return unix.Mkfifo(temporary, 0o600) },
		"dir":  func() error { return os.Mkdir(temporary, 0o700) },
	} {
		if err := leave(); err != nil {
			t.Fatal(err)
		}
		if err := Write(path, temporary, []byte(name), Volatile); err != nil || content(t, path) != name {
			t.Errorf("%s: %q, %v", name, content(t, path), err)
		}
	}
	if got := content(t, other); got != "" {
		t.Errorf("it wrote to another file: %q", got)
	}
}

func TestUmask(t *testing.T) {
	old := unix.Umask(0o277)
	defer unix.Umask(old)
	dir := t.TempDir()
	for _, temporary := range []string{"f.new", "f.new-*"} {
		path := filepath.Join(dir, "f")
		if err := Write(path, filepath.Join(dir, temporary), nil, Volatile); err != nil {
			t.Fatal(err)
		}
		content(t, path)
	}
}

// TestConcurrent has many writers at once. Readers only see whole files, and the last
// file is that of one writer.
func TestConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	long := strings.Repeat("x", 100_000)
	if err := WriteJSON(path, long, Volatile); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for n := range 8 {
		writers.Go(func() {
			for range 20 {
				if err := WriteJSON(path, fmt.Sprint(n)+long, Volatile); err != nil {
					t.Error(err)
				}
				if data, err := os.ReadFile(path); err != nil || !strings.HasSuffix(string(data), "x\"\n") {
					t.Errorf("%d bytes, %v", len(data), err)
				}
			}
		})
	}
	writers.Wait()
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestPending(t *testing.T) {
	dir := t.TempDir()
	p, err := Create(filepath.Join(dir, "f.new"))
	if err != nil {
		t.Fatal(err)
	}
	p.Discard()
	p.Discard()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "made"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p = Adopt(f)
	if _, err := p.WriteString("adopted"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "f")
	if err := p.Commit(path, Durable); err != nil || content(t, path) != "adopted" {
		t.Errorf("%q, %v", content(t, path), err)
	}
	p.Discard() // of no effect
	content(t, path)
	if _, err := Create(filepath.Join(dir, "missing", "f.new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}
