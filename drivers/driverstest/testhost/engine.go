package testhost

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Image is what scripts/engines puts into each engine: busybox, nothing else.
const Image = "localhost/openshell-busybox:latest"

// Engine is one of the engines that scripts/engines starts.
type Engine struct{ name, script string }

// FindEngine finds a test engine that was started: docker, podman or rootless.
func FindEngine(t testing.TB, name string) Engine {
	t.Helper()
	dir := os.Getenv("OPENSHELL_ENGINES")
	if dir == "" {
		Missing(t, `no test engines run: eval "$(scripts/engines start)"`)
	}
	if _, err := os.Stat(filepath.Join(dir, name+".pid")); err != nil {
		Missing(t, "the test engine %s does not run: scripts/engines start %s", name, name)
	}
	script, err := filepath.Abs("../../scripts/engines")
	if err != nil {
		t.Fatal(err)
	}
	return Engine{name, script}
}

// Do has scripts/engines do something to it: restart, kill, start.
func (e Engine) Do(t testing.TB, what string) {
	t.Helper()
	if servant := os.Getenv(envServant); servant != "" {
		order(t, servant, what, e.name)
		return
	}
	cmd := exec.Command(e.script, what, e.name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scripts/engines %s %s: %v\n%s", what, e.name, err, out)
	}
}

// Netns gives the file of the network namespace that the engine runs in; "" for this one.
// It changes with each start. Nil without root, who alone may enter it.
func (e Engine) Netns() func() string {
	if os.Getuid() != 0 {
		return nil
	}
	return func() string {
		pid, err := os.ReadFile(filepath.Join(os.Getenv("OPENSHELL_ENGINES"), e.name+".pid"))
		if err != nil {
			return ""
		}
		return filepath.Join("/proc", strings.TrimSpace(string(pid)), "ns/net")
	}
}
