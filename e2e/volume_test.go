//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"openshell-vm/gateway/api"
)

// TestVolumeOfAllDrivers writes to one volume from a sandbox of each driver, the gateway being
// killed in between. It stays until nobody uses it and it is removed.
func TestVolumeOfAllDrivers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, os.Getuid())
	var want []string
	for _, e := range engines {
		if host := hostVars[e.driver]; host != "" {
			if os.Getenv(host) == "" {
				if os.Getenv("E2E_REQUIRE") == "1" {
					t.Fatalf("%s is not set: scripts/e2e starts the engines when run as root", host)
				}
				continue
			}
			w.setenv(host, os.Getenv(host))
		}
		want = append(want, e.driver)
	}
	for _, e := range engines {
		if len(want) == 0 || !strings.Contains(strings.Join(want, " "), e.driver) {
			continue
		}
		args := append([]string{"run", "--name", e.driver, "-v", "work:/work"}, e.flags...)
		w.run(append(args, "--", "sh", "-c", "echo "+e.driver+" >> /work/log")...)
		if r := w.try("volume", "rm", "work"); r.code != 125 || !strings.Contains(r.stderr, "in use by") {
			t.Errorf("while %s has it: code %d, %s", e.driver, r.code, r.stderr)
		}
		w.must(syscall.Kill(w.gatewayPID(), syscall.SIGKILL))
	}
	var volumes []api.Volume
	w.json(&volumes, "volume", "inspect", "work")
	if len(volumes) != 1 || len(volumes[0].UsedBy) != len(want) {
		t.Fatalf("after all: %+v", volumes)
	}
	if log, err := os.ReadFile(filepath.Join(volumes[0].Dir, "log")); err != nil || string(log) != strings.Join(want, "\n")+"\n" {
		t.Errorf("in it is %q, %v", log, err)
	}
	if facts := w.run("inspect", want[0]); !strings.Contains(facts, "volume work at /work, writable") {
		t.Errorf("inspect says\n%s", facts)
	}
	w.run(append([]string{"rm"}, want...)...)
	w.run("volume", "rm", "work")
	if _, err := os.Lstat(filepath.Dir(volumes[0].Dir)); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
}
