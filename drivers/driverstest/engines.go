package driverstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
)

// Image is what scripts/engines puts into each engine: busybox, nothing else.
const Image = "localhost/openshell-busybox:latest"

// TestEngine is one of the engines that scripts/engines starts.
type TestEngine struct{ name, script string }

// Engine finds a test engine that was started: docker, podman or rootless.
func Engine(t testing.TB, name string) TestEngine {
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
	return TestEngine{name, script}
}

// Do has scripts/engines do something to it: restart, kill, start.
func (e TestEngine) Do(t testing.TB, what string) {
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

// EngineGone kills the engine: a user sees one line and a hint, and the driver
// finds it again once it is back.
func EngineGone(t *testing.T, name string, d drivers.Driver) {
	engine := Engine(t, name)
	if info := d.Probe(t.Context()); !info.Usable {
		Missing(t, "%s", info.Problem)
	}
	engine.Do(t, "kill")
	t.Cleanup(func() { engine.Do(t, "start") })
	_, err := d.Inspect(t.Context(), "abcdefabcdef")
	plain(t, "inspect with a killed "+name, err)
	if info := d.Probe(t.Context()); info.Usable || info.Problem == "" || info.Hint == "" {
		t.Errorf("%+v", info)
	}
	engine.Do(t, "start")
	if info := d.Probe(t.Context()); !info.Usable {
		t.Errorf("not found again: %+v", info)
	}
}

// WrongImages pulls images that are not to be had.
func WrongImages(t *testing.T, d drivers.Puller, images ...string) {
	for _, image := range images {
		plain(t, "pull "+image, d.Pull(t.Context(), image, nil))
	}
}

// plain wants an error of one line, and a hint.
func plain(t testing.TB, what string, err error) {
	t.Helper()
	if err == nil || strings.Contains(err.Error(), "\n") || drivers.HintOf(err) == "" {
		t.Errorf("%s: %v, hint %q", what, err, drivers.HintOf(err))
		return
	}
	t.Logf("%s: %v\n\thint: %s", what, err, drivers.HintOf(err))
}
