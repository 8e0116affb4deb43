package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/fault"
)

// open opens a home in fresh directories. Their paths are short, because the length of a
// socket's path is limited.
func open(t *testing.T) *Home {
	t.Helper()
	fresh(t)
	h, err := Open()
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

// fresh sets the environment to directories that do not exist yet.
func fresh(t *testing.T) (stateDir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	path := filepath.Join(dir, "a", "state")
	t.Setenv(api.EnvStateDir, path)
	t.Setenv(api.EnvRuntimeDir, filepath.Join(dir, "run"))
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenHome(t *testing.T) {
	for _, c := range []struct {
		what    string
		prepare func(t *testing.T, path string)
		says    string
	}{
		{"fresh", func(*testing.T, string) {}, ""},
		{"there already", func(t *testing.T, path string) { must(t, os.MkdirAll(path, 0o700)) }, ""},
		{"open modes", func(t *testing.T, path string) { must(t, os.MkdirAll(path, 0o755)); must(t, os.Chmod(path, 0o750)) }, "mode 0750"},
		{"a file", func(t *testing.T, path string) {
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.WriteFile(path, nil, 0o600))
		}, "not a directory"},
		{"a symlink", func(t *testing.T, path string) {
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.Symlink(t.TempDir(), path))
		}, "symbolic link"},
		{"relative", func(t *testing.T, _ string) { t.Setenv(api.EnvStateDir, "state") }, "no absolute path"},
		{"another owner", func(t *testing.T, path string) {
			must(t, os.MkdirAll(path, 0o700))
			if os.Chown(path, 12345, -1) != nil {
				t.Skip("only root can give a directory away")
			}
		}, "belongs to user 12345"},
		{"damaged identity", func(t *testing.T, path string) {
			must(t, os.MkdirAll(path, 0o700))
			must(t, os.WriteFile(filepath.Join(path, api.IdentityFile), []byte("{"), 0o600))
		}, "damaged"},
		{"runtime too long", func(t *testing.T, _ string) { t.Setenv(api.EnvRuntimeDir, "/tmp/"+strings.Repeat("x", 60)) }, "too long"},
		{"runtime open", func(t *testing.T, path string) {
			must(t, os.MkdirAll(path, 0o700))
			must(t, os.WriteFile(filepath.Join(path, api.IdentityFile), []byte(`{"id":"abcdefghijkl"}`), 0o600))
			dir := filepath.Join(os.Getenv(api.EnvRuntimeDir), "abcdefghijkl")
			must(t, os.MkdirAll(dir, 0o755))
			must(t, os.Chmod(dir, 0o755))
		}, "mode 0755"},
	} {
		t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
			c.prepare(t, fresh(t))
			home, err := Open()
			if err == nil {
				defer home.Close()
			}
			if c.says == "" {
				if err != nil || !IsID(home.ID) {
					t.Errorf("%+v, %v", home, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, wanted …%s…", err, c.says)
			}
			var known *api.Error
			if fault.HintOf(err) == "" && (!errors.As(err, &known) || known.Hint == "") {
				t.Error("no hint")
			}
		})
	}
}

// TestShareOutsideOfState checks that only shares within the state directory move with it.
func TestShareOutsideOfState(t *testing.T) {
	h := &Home{Places: Places{State: "/new/state", ID: "gatewayid123"}}
	for _, c := range []struct{ share, place, want string }{
		{"/run/openshell-vm/gatewayid123/shares/abc", "", "/run/openshell-vm/gatewayid123/shares/abc"},
		{"/old/state/shares/abc", "", "/new/state/shares/abc"},
		{"/old/state/named/n", "", "/new/state/named/n"},
		{"/old/state/named/n", "named/n", "/new/state/named/n"},
		{"/elsewhere/abc", "", "/elsewhere/abc"},
		{"/old/state/named/n", "../x", ""},
		{"relative", "", ""},
	} {
		r := &Record{ID: "abc", Name: "n", Share: c.share, Place: c.place}
		if err := h.settleShare(r); (err == nil) != (c.want != "") || err == nil && r.Share != c.want {
			t.Errorf("%s, place %q: %s, %v", c.share, c.place, r.Share, err)
		}
	}
}

// TestOnlyOld: a gateway that is run again makes no state directory in the place of one that
// is not there for a moment.
func TestOnlyOld(t *testing.T) {
	dir := fresh(t)
	t.Setenv(EnvOnlyOld, "1")
	if home, err := Open(); err == nil {
		home.Close()
		t.Error("it was made")
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("something was made: %v", err)
	}
	for _, only := range []string{"", "1"} {
		t.Setenv(EnvOnlyOld, only)
		home, err := Open()
		must(t, err)
		home.Close()
	}
}
