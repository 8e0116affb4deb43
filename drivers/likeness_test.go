package drivers

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hiddenTree is a directory with a state directory in it, and another without.
func hiddenTree(t *testing.T) (top, state string) {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	state = filepath.Join(top, "lib/state")
	for _, dir := range []string{"keys", "shares/abc/auth", "empty"} {
		if err := os.MkdirAll(filepath.Join(state, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"gateway.json", "keys/one.pem", "shares/abc/lock"} {
		if err := os.WriteFile(filepath.Join(state, file), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return top, state
}

// view makes a directory visible at a second place.
type view struct {
	name string
	make func(t *testing.T, of, at string)
}

func command(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

func unmountLater(t *testing.T, at string) {
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestViews: a hidden directory is found through every kind of view.
func TestViews(t *testing.T) {
	views := []view{{"copy", func(t *testing.T, of, at string) { command(t, "cp", "-a", of+"/.", at) }}}
	if os.Geteuid() == 0 {
		views = append(views,
			view{"bind", func(t *testing.T, of, at string) {
				command(t, "mount", "--bind", of, at)
				unmountLater(t, at)
			}},
			view{"overlay", func(t *testing.T, of, at string) {
				command(t, "mount", "-t", "overlay", "-o", "lowerdir="+of+":"+t.TempDir(), "overlay", at)
				unmountLater(t, at)
			}})
		if _, err := exec.LookPath("bindfs"); err == nil {
			views = append(views, view{"fuse", func(t *testing.T, of, at string) {
				command(t, "bindfs", of, at)
				unmountLater(t, at)
			}})
		}
	}
	for _, v := range views {
		for _, c := range []struct {
			of, source string // below top, and below the view
			masks      []string
			refused    bool
		}{
			{of: ".", source: ".", masks: []string{"lib/state"}},
			{of: "lib", source: ".", masks: []string{"state"}},
			{of: ".", source: "lib/state", refused: true},
			{of: ".", source: "lib/state/shares/abc", refused: true},
			{of: "lib/state", source: ".", refused: true},
			{of: "lib/state", source: "empty", refused: true},
			{of: "lib/state/keys", source: ".", refused: true},
			{of: "other", source: "."},
		} {
			t.Run(v.name+"/"+c.of+"/"+c.source, func(t *testing.T) {
				top, state := hiddenTree(t)
				if err := os.MkdirAll(filepath.Join(top, "other/keys"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(top, "other/gateway.json"), []byte("gateway.json"), 0o600); err != nil {
					t.Fatal(err)
				}
				earlier := time.Now().Add(-time.Second) // in one tick of the clock they would be the same
				if err := os.Chtimes(filepath.Join(top, "other/gateway.json"), earlier, earlier); err != nil {
					t.Fatal(err)
				}
				at := t.TempDir()
				v.make(t, filepath.Join(top, c.of), at)
				masks, err := Exposure(filepath.Join(at, c.source), []string{state})
				if (err != nil) != c.refused || !slices.Equal(masks, c.masks) {
					t.Errorf("masks %v, error %v; wanted %v, refused %v", masks, err, c.masks, c.refused)
				}
			})
		}
	}
}
