package vault

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
)

const planted = "correct-horse-battery-staple"

// open opens the vault of a state directory.
func open(t *testing.T, state string) *Vault {
	t.Helper()
	v, err := Open(filepath.Join(state, "secrets"), filepath.Join(state, "secrets.key"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func code(err error) string {
	var e *api.Error
	if errors.As(err, &e) && e.Hint != "" {
		return e.Code
	}
	return ""
}

func holds(t *testing.T, v *Vault, name, want string) {
	t.Helper()
	if data, err := v.Read(name); err != nil || string(data) != want {
		t.Errorf("%s holds %q, %v; want %q", name, data, err, want)
	}
}

// TestVault: a secret is kept over a restart, replaced, removed, and nowhere in clear.
func TestVault(t *testing.T) {
	state := t.TempDir()
	v := open(t, state)
	if names, err := v.Names(); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
	if entries, _ := os.ReadDir(state); len(entries) != 0 {
		t.Errorf("looking made %v", entries)
	}
	if err := v.Write("db", []byte("x"), false); code(err) != api.CodeNotFound {
		t.Errorf("replaced what is not there: %v", err)
	}
	must(t, v.Write("db", []byte(planted), true))
	if err := v.Write("db", []byte("x"), true); code(err) != api.CodeConflict {
		t.Errorf("made twice: %v", err)
	}
	must(t, v.Write("a.gone", bytes.Repeat([]byte{0, 1, '\n'}, api.MaxSecretSize/3), true))
	holds(t, v, "db", planted)
	made, err := v.Info("db")
	must(t, err)
	must(t, v.Write("db", []byte(planted+"2"), false))

	v = open(t, state)
	holds(t, v, "db", planted+"2")
	now, err := v.Info("db")
	if err != nil || now.Size != int64(len(planted))+1 || !now.CreatedAt.Equal(made.CreatedAt) || !now.ChangedAt.After(made.ChangedAt) {
		t.Errorf("%+v, %v, was %+v", now, err, made)
	}
	if names, err := v.Names(); err != nil || fmt.Sprint(names) != "[a.gone db]" {
		t.Errorf("%v, %v", names, err)
	}
	if found := inClear(t, state); len(found) > 0 {
		t.Errorf("in clear in %v", found)
	}
	must(t, os.WriteFile(filepath.Join(state, "planted"), []byte(planted), 0o600))
	if len(inClear(t, state)) != 1 {
		t.Error("the search finds nothing")
	}
	for path, mode := range map[string]os.FileMode{"secrets": 0o700, "secrets/db.age": 0o600, "secrets.key": 0o600} {
		if info, err := os.Stat(filepath.Join(state, path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func inClear(t *testing.T, dir string) (found []string) {
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			data, _ := os.ReadFile(path)
			if bytes.Contains(data, []byte(planted)) {
				found = append(found, path)
			}
		}
		return err
	}))
	return found
}

// TestRemove: a removed secret is not read again, in the next process neither, and its name is
// free once nothing shows it.
func TestRemove(t *testing.T) {
	state := t.TempDir()
	v := open(t, state)
	if err := v.Remove("db"); code(err) != api.CodeNotFound {
		t.Error(err)
	}
	must(t, v.Write("db", []byte(planted), true))
	must(t, v.Remove("db"))
	for range 2 {
		_, err := v.Read("db")
		if _, infoErr := v.Info("db"); !errors.Is(err, ErrRemoved) || !errors.Is(infoErr, ErrRemoved) || !v.Removed("db") {
			t.Errorf("%v, %v", err, infoErr)
		}
		if err := v.Write("db", nil, true); code(err) != api.CodeConflict {
			t.Errorf("it can be made again: %v", err)
		}
		if names, _ := v.Names(); len(names) != 0 {
			t.Error(names)
		}
		v = open(t, state)
	}
	// A process that was killed after the mark leaves both.
	must(t, os.WriteFile(v.path("db"), []byte("left"), 0o600))
	must(t, v.Forget("db"))
	if entries, _ := os.ReadDir(v.dir); len(entries) != 0 {
		t.Errorf("left %v", entries)
	}
	must(t, v.Write("db", []byte("new"), true))
	holds(t, v, "db", "new")
}

// TestEvil: names that lead elsewhere, and files that are not what was written there.
func TestEvil(t *testing.T) {
	state := t.TempDir()
	v := open(t, state)
	must(t, v.Write("a", []byte(planted), true))
	must(t, v.Write("b", []byte("b"), true))
	for _, name := range []string{"", ".", "..", "../secrets/a", "a/b", "a\x00", ".new", strings.Repeat("n", 64)} {
		_, err := v.Read(name)
		if err == nil || v.Write(name, []byte("x"), true) == nil || v.Remove(name) == nil {
			t.Errorf("%q is a name: %v", name, err)
		}
	}
	good, err := os.ReadFile(v.path("a"))
	must(t, err)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	key, err := os.ReadFile(v.keyFile)
	must(t, err)
	for what, break_ := range map[string]func() error{
		"another's":    func() error { return os.Rename(v.path("b"), v.path("a")) },
		"changed":      func() error { return os.WriteFile(v.path("a"), flipped, 0o600) },
		"shortened":    func() error { return os.Truncate(v.path("a"), int64(len(good)-1)) },
		"empty":        func() error { return os.Truncate(v.path("a"), 0) },
		"in clear":     func() error { return os.WriteFile(v.path("a"), []byte(planted), 0o600) },
		"huge":         func() error { return os.Truncate(v.path("a"), 1<<40) },
		"a FIFO":       func() error { return errors.Join(os.Remove(v.path("a")), unix.Mkfifo(v.path("a"), 0o600)) },
		"without key":  func() error { return os.Remove(v.keyFile) },
		"a broken key": func() error { return os.WriteFile(v.keyFile, append([]byte("x"), key...), 0o600) },
		"another key": func() error {
			return os.WriteFile(v.keyFile, []byte("AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33\n"), 0o600)
		},
	} {
		must(t, break_())
		v := open(t, state)
		data, err := v.Read("a")
		if err == nil || strings.Contains(err.Error(), planted) || strings.Contains(err.Error(), "AGE-SECRET") {
			t.Errorf("%s: %q, %v", what, data, err)
		}
		if _, infoErr := v.Info("a"); what != "changed" && infoErr == nil && what != "shortened" {
			t.Errorf("%s: is known", what)
		}
		_ = os.Remove(v.path("a"))
		must(t, os.WriteFile(v.path("a"), good, 0o600))
		must(t, os.WriteFile(v.keyFile, key, 0o600))
		holds(t, v, "a", planted)
	}
	must(t, os.Remove(v.keyFile))
	if err := v.Write("c", []byte("x"), true); code(err) == "" {
		t.Errorf("a second key was made, and the first secrets are lost: %v", err)
	}
}

// TestFailedWrite: a write that fails leaves the old content.
func TestFailedWrite(t *testing.T) {
	state := t.TempDir()
	v := open(t, state)
	must(t, v.Write("a", []byte("old"), true))
	must(t, os.Mkdir(filepath.Join(v.dir, temporary), 0o700))
	must(t, os.WriteFile(filepath.Join(v.dir, temporary, "x"), nil, 0o600)) // nothing can be made in its place
	if err := v.Write("a", []byte("new"), false); err == nil {
		t.Error("it was written")
	}
	if err := v.Remove("a"); err == nil {
		t.Error("it was removed")
	}
	holds(t, v, "a", "old")
	if v.Removed("a") {
		t.Error("it counts as removed")
	}
}

// TestBound: there is a limit to how many there are.
func TestBound(t *testing.T) {
	v := open(t, t.TempDir())
	must(t, v.Write("a", nil, true))
	for i := range MaxSecrets - 1 {
		must(t, os.WriteFile(v.path(fmt.Sprint("n", i)), nil, 0o600))
	}
	if err := v.Write("one-more", nil, true); code(err) != api.CodeInvalid {
		t.Error(err)
	}
	must(t, v.Write("a", []byte("x"), false))
}

// TestReadersAndWriters: whoever reads meets one whole content.
func TestReadersAndWriters(t *testing.T) {
	v := open(t, t.TempDir())
	must(t, v.Write("a", bytes.Repeat([]byte{'0'}, 100_000), true))
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 20 {
				if i == 0 {
					if err := v.Write("a", bytes.Repeat([]byte{'0' + byte(n%10)}, 100_000), false); err != nil {
						t.Error(err)
					}
					continue
				}
				data, err := v.Read("a")
				if err != nil || len(data) != 100_000 || bytes.Count(data, data[:1]) != len(data) {
					t.Errorf("torn: %d bytes, %v", len(data), err)
				}
				if info, err := v.Info("a"); err != nil || info.Size != 100_000 {
					t.Errorf("%+v, %v", info, err)
				}
			}
		})
	}
	all.Wait()
}
