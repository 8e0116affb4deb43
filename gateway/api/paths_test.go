package api

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOddPlaces checks that odd environments give one line and a hint.
func TestOddPlaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	damaged := t.TempDir()
	for _, path := range []string{file, filepath.Join(damaged, IdentityFile)} {
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ state, runtime, says string }{
		{"rel", "", `OPENSHELL_STATE_DIR is "rel", which is no absolute path`},
		{file, "", "find the gateway: open " + file + "/gateway.json: not a directory"},
		{damaged, "", "find the gateway: " + damaged + "/gateway.json is damaged"},
		{t.TempDir(), "rel", ""}, // no gateway has run there, so the runtime directory is not used
	} {
		t.Setenv(EnvStateDir, c.state)
		t.Setenv(EnvRuntimeDir, c.runtime)
		_, err := Connect(context.Background())
		var answer *Error
		switch {
		case c.says == "" && !errors.Is(err, ErrNotRunning):
			t.Errorf("%+v: %v", c, err)
		case c.says != "" && (!errors.As(err, &answer) || answer.Message != c.says || answer.Hint == ""):
			t.Errorf("%+v: %#v", c, err)
		}
	}
	if os.Geteuid() == 0 {
		return // root has a place of its own
	}
	t.Setenv(EnvStateDir, "")
	t.Setenv("XDG_STATE_HOME", "rel")
	for home, says := range map[string]string{
		"":    "neither HOME nor XDG_STATE_HOME is set",
		"rel": `HOME is "rel", which is no absolute path`,
	} {
		t.Setenv("HOME", home)
		if _, err := StateDir(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("HOME=%s: %v", home, err)
		}
	}
}

// TestListensElsewhere checks that the error names another runtime directory where the
// last gateway of the state directory has listened.
func TestListensElsewhere(t *testing.T) {
	state := t.TempDir()
	t.Setenv(EnvStateDir, state)
	t.Setenv(EnvRuntimeDir, "")
	identify := func(id Identity) {
		t.Helper()
		data, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(state, IdentityFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	identify(Identity{ID: "g1", RuntimeDir: "/nonexistent/run/g1"})
	if err := notListening(); !strings.Contains(err.Error(), "the last one of "+state+" listens in /nonexistent/run/g1") {
		t.Error(err)
	}
	t.Setenv(EnvRuntimeDir, "/r")
	identify(Identity{ID: "g1", RuntimeDir: "/r/g1"})
	if err := notListening(); strings.Contains(err.Error(), "last one") {
		t.Errorf("it is the same place: %v", err)
	}
}

// TestRuntimeDirStays checks that a client with another environment finds the gateway.
func TestRuntimeDirStays(t *testing.T) {
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if os.Geteuid() == 0 {
		t.Setenv(EnvRuntimeDir, "")
	}
	was := filepath.Join(dir, "was")
	if err := os.Mkdir(was, 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := RuntimeDir(dir, Identity{ID: "abcdefghijkl", RuntimeDir: was})
	if err != nil || got != was {
		t.Errorf("%s, %v", got, err)
	}
	os.Remove(was)
	got, err = RuntimeDir("/"+strings.Repeat("long/", 20), Identity{ID: "abcdefghijkl", RuntimeDir: was})
	if err != nil || got == was || len(got) > 70 || !filepath.IsAbs(got) {
		t.Errorf("%s, %v", got, err)
	}
}
