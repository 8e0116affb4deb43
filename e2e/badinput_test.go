//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
)

// TestBadInput expects for each bad input one clear line, a hint and exit code 125. Nothing
// may be left behind.
func TestBadInput(t *testing.T) {
	eachUser(t, func(t *testing.T, w *world) {
		file := filepath.Join(w.home, "file")
		w.must(os.WriteFile(file, nil, 0o644))
		w.run("run", "--rm", "--ephemeral", "--", "true") // the state directory exists from here on
		empty := filepath.Join(w.home, "empty")
		w.must(os.Mkdir(empty, 0o755))
		w.run("create", "--name", "taken", "--", "true")

		run := func(args ...string) []string { return append(append([]string{"run", "--rm"}, args...), "--", "true") }
		for _, c := range []struct {
			what string
			args []string
			says []string // in the line or its hint
		}{
			{"rootfs missing", run("--rootfs", "/no/such/dir"), []string{"/no/such/dir", "does not exist"}},
			{"rootfs a file", run("--rootfs", file), []string{file, "not a directory"}},
			{"rootfs inside the state directory", run("--rootfs", w.stateDir()), []string{w.stateDir()}},
			{"mount inside the state directory", run("--mount", filepath.Join(w.stateDir(), "keys")+":/keys"), []string{"keys"}},
			{"mount missing", run("--mount", "/no/such/dir:/x"), []string{"/no/such/dir"}},
			{"mount writable, of what holds the keys", run("--mount", filepath.Dir(w.stateDir())+":/x:rw"), []string{"to be written to"}},
			{"mount over proc", run("--mount", empty+":/proc/x"), []string{"/proc"}},
			{"mount in the share's place", run("--mount", empty+":/etc/openshell/conf"), []string{"/etc/openshell", "somewhere else"}},
			{"mount over a file", run("--mount", empty+":/etc/hosts"), []string{"/etc/hosts"}},
			{"share over the socket", run("--at", "/run/openshell/x"), []string{"socket"}},
			{"share over sys", run("--at", "/srv/../sys/x"), []string{"/sys"}},
			{"share in the mirror", run("--inotify", "--at", "/etc/openshell/mirror/auth"), []string{"--inotify", "/etc/openshell/mirror"}},
			{"mount in the mirror", run("--inotify", "--mount", empty+":/etc/openshell/mirror"), []string{"/etc/openshell/mirror"}},
			{"TTL too short", run("--ttl", "15s"), []string{"15s", "16s"}},
			{"TTL malformed", run("--ttl", "soon"), []string{"soon"}},
			{"name taken", append([]string{"run", "--name", "taken"}, "true"), []string{"taken"}},
			{"name malformed", run("--name", "../x"), []string{"../x"}},
			{"memory beyond the host's", run("--memory", "100t"), []string{"memory"}},
			{"memory malformed", run("--memory", "lots"), []string{"lots"}},
			{"CPUs beyond the host's", run("--cpus", "4096"), []string{"4096"}},
			{"unknown driver", run("--driver", "vmware"), []string{"vmware"}},
			{"unknown hypervisor", run("--hypervisor", "xen"), []string{"xen"}},
			{"no image for a VM", run("--driver", "vm", "--image", "al pine"), []string{"docker-archive:FILE"}},
			{"unknown user", run("--user", "nobody-knows-me"), []string{"nobody-knows-me"}},
			{"environment malformed", run("--env", "=x"), []string{"=x"}},
			{"unknown sandbox", []string{"inspect", "nobody"}, []string{"nobody"}},
			{"exec in one that does not run", []string{"exec", "taken", "true"}, []string{"taken"}},
			{"unknown flag", []string{"run", "--no-such-flag"}, []string{"no-such-flag"}},
			{"unknown command", []string{"nosuch"}, []string{"nosuch"}},
		} {
			t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
				r := w.try(c.args...)
				t.Logf("%s", strings.TrimSpace(r.stderr))
				lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
				if r.code != 125 || len(lines) != 2 || !strings.HasPrefix(lines[1], "hint: ") {
					t.Errorf("exit code %d and %d lines; 125, a line and a hint are wanted", r.code, len(lines))
				}
				for _, word := range c.says {
					if !strings.Contains(r.stderr, word) {
						t.Errorf("it does not say %q", word)
					}
				}
			})
		}
		var left []api.Sandbox
		w.json(&left, "ps", "-a")
		if len(left) != 1 {
			t.Errorf("%d sandboxes are left, only %q should be", len(left), "taken")
		}
		dirs, _ := filepath.Glob(filepath.Join(w.stateDir(), "*", "*"))
		for _, dir := range dirs {
			if kind := filepath.Base(filepath.Dir(dir)); (kind == "sandboxes" || kind == "shares") && filepath.Base(dir) != left[0].ID {
				t.Errorf("left behind: %s", dir)
			}
		}
	})
}

// TestStateDirectoryIsGuarded tries open modes, a second gateway and a stale socket.
func TestStateDirectoryIsGuarded(t *testing.T) {
	eachUser(t, func(t *testing.T, w *world) {
		w.run("ps")
		pid := w.gatewayPID()
		if out, err := w.command(w.Context(), "openshell-gateway").CombinedOutput(); err == nil || !strings.Contains(string(out), "hint: ") {
			t.Errorf("a second gateway on the same state: %v, %s", err, out)
		} else {
			t.Logf("a second gateway: %s", strings.TrimSpace(string(out)))
		}
		if now := w.gatewayPID(); now != pid {
			t.Errorf("the first gateway was %d and is %d", pid, now)
		}

		w.killGateway() // leaves its socket behind
		w.run("ps")
		if now := w.gatewayPID(); now == 0 || now == pid {
			t.Errorf("over a stale socket: gateway %d", now)
		}

		w.run("gateway", "stop")
		w.must(os.Chmod(w.stateDir(), 0o755))
		r := w.try("ps")
		t.Logf("open modes: %s", strings.TrimSpace(r.stderr))
		if r.code != 125 || !strings.Contains(r.stderr, w.stateDir()) || !strings.Contains(r.stderr, "hint: ") {
			t.Errorf("open modes: exit code %d, %q", r.code, r.stderr)
		}
		w.must(os.Chmod(w.stateDir(), 0o700))
		if os.Getuid() == 0 && w.uid != 0 {
			w.must(os.Chown(w.stateDir(), 0, 0))
			r := w.try("ps")
			t.Logf("another owner: %s", strings.TrimSpace(r.stderr))
			if r.code != 125 || !strings.Contains(r.stderr, w.stateDir()) {
				t.Errorf("another owner: exit code %d, %q", r.code, r.stderr)
			}
			w.must(os.Chown(w.stateDir(), w.uid, w.uid))
		}
	})
}
