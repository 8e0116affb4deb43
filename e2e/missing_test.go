//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMissingParts hides what a VM needs, one thing at a time, by PATH and environment. It
// expects one line that names the missing thing and the package to install.
func TestMissingParts(t *testing.T) {
	eachUser(t, func(t *testing.T, w *world) {
		for _, c := range []struct {
			what string
			hide func(w *world)
			says []string
		}{
			{"no QEMU", func(w *world) { w.setenv("PATH", "/nonexistent") }, []string{"qemu-system", "apt"}},
			{"no virtiofsd", func(w *world) { w.setenv("OPENSHELL_VIRTIOFSD", "/nonexistent") }, []string{"virtiofsd", "apt"}},
			{"no kernel", func(w *world) { w.setenv("OPENSHELL_KERNEL", "/nonexistent") }, []string{"/nonexistent"}},
			{"libkrun absent", func(w *world) { w.setenv("OPENSHELL_LIBKRUN", "/nonexistent") }, nil},
		} {
			t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
				w := newWorld(t, w.uid)
				c.hide(w)
				args := []string{"run", "--rm", "--driver", "vm", "--", "true"}
				if c.says == nil {
					args = append([]string{"run", "--rm", "--driver", "vm", "--hypervisor", "krun"}, args[4:]...)
					c.says = []string{"krun"} // where KVM does not work, that is said first
				}
				r := w.try(args...)
				t.Logf("%s", strings.TrimSpace(r.stderr))
				if r.code != 125 || !strings.Contains(r.stderr, "\nhint: ") {
					t.Errorf("exit code %d, %q; 125, a line and a hint are wanted", r.code, r.stderr)
				}
				for _, word := range c.says {
					if !strings.Contains(r.stderr, word) {
						t.Errorf("it does not say %q", word)
					}
				}
				if left, _ := filepath.Glob(filepath.Join(w.stateDir(), "sandboxes", "*")); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	})
}

// setenv replaces a variable for the programs of this world.
func (w *world) setenv(name, value string) {
	env := []string{name + "=" + value}
	for _, kv := range w.env {
		if !strings.HasPrefix(kv, name+"=") {
			env = append(env, kv)
		}
	}
	w.env = env
}

// TestDiskFull fills the file system with the state directory, when nothing is set aside there.
// The last good token has to stay, ps has to show the failure, and renewals have to recover by
// themselves once there is room.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a tmpfs of its own needs root")
	}
	t.Parallel()
	w := newWorld(t, 0)
	full := w.tmpfs(filepath.Join(w.home, "state"), "64m")
	s := w.start("full", "16s", "--ephemeral")
	j := w.judgeOf(s.Share)
	w.eventually("room is set aside", patience, func() bool { return w.reserved() > 0 })
	release := func() {}
	for w.reserved() > 0 {
		release()
		w.must(os.RemoveAll(filepath.Join(w.stateDir(), "reserve")))
		release = full()
	}

	last := w.token(s.Share)
	w.eventually("ps shows the failure", patience, func() bool {
		token := w.sandbox("full").Token
		return token.Failures > 0 && strings.Contains(token.LastError, "no space")
	})
	t.Log(w.run("ps"))
	if now := w.token(s.Share); now != last {
		t.Errorf("the share changed although nothing could be published")
	}
	release()
	w.eventually("it recovers by itself", patience, func() bool { return w.sandbox("full").Token.Failures == 0 })
	w.readsFresh("full", j, s.Token.Generation)
}

// tmpfs mounts a small file system for the world. The function that it returns fills the file
// system to the last byte, and returns a function that empties it again.
func (w *world) tmpfs(dir, size string) (fill func() (release func())) {
	w.Helper()
	w.must(os.MkdirAll(dir, 0o700))
	w.must(unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size))
	w.unmount = append(w.unmount, dir)
	return func() func() {
		ballast := filepath.Join(dir, "ballast")
		f, err := os.OpenFile(ballast, os.O_CREATE|os.O_WRONLY, 0o600)
		w.must(err)
		defer f.Close()
		for page := make([]byte, 4096); ; {
			if _, err := f.Write(page); err != nil {
				break
			}
		}
		return func() { w.must(os.Remove(ballast)) }
	}
}
