package testhost

import (
	"os"
	"os/exec"
	"path/filepath"
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

// Address is the one address of an engine's network, for servers of tests. Every name is
// asked for at its port 53. See scripts/engines.
const Address = "198.51.100.53"

// Netns gives the file of the engine's network namespace, which stays the same over starts;
// "" in a test that runs there. Nil without root, who alone may enter it.
func (e Engine) Netns() func() string {
	switch {
	case os.Getenv(envNetns) != "":
		return func() string { return "" }
	case os.Getuid() != 0:
		return nil
	}
	return e.netns
}

func (e Engine) netns() string { return filepath.Join(os.Getenv("OPENSHELL_ENGINES"), e.name+".net") }

// AsUser is the function AsUser, with the tests run in the engine's network.
func (e Engine) AsUser(t *testing.T, uid int, groups []int, pattern string, env ...string) {
	t.Helper()
	asUser(t, e.netns(), uid, groups, pattern, env...)
}
