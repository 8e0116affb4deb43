//go:build e2e

package programs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/gateway/api"
)

// patience bounds one wait. Nothing here promises speed, and guests are emulated.
const patience = 3 * time.Minute

// image is what the tests put into each engine.
const image = "localhost/openshell-programs"

// place is where sandboxes are: a driver, and an engine's network, in which the gateway and the
// servers are.
type place struct {
	driver, engine string
	address        string   // of the servers
	flags          []string // in place of the page's --image agent
}

var places = []place{
	{"docker", "docker", testhost.Address, []string{"--driver", "docker", "--image", image}},
	{"podman", "podman", testhost.Address, []string{"--driver", "podman", "--image", image}},
	{"vm", "docker", "127.0.0.1", []string{"--driver", "vm", "-m", "512m", "--rootfs", "TREE", "--allow-host", "443", "--allow-host", "22"}},
}

// world is a place with a home, a gateway, and servers.
type world struct {
	testing.TB
	place
	netns, home, bin string
	env              []string
	rates            rates
	*servers
}

// newWorld makes a home under /var/tmp, where engines see it, and registers its end.
func newWorld(t *testing.T, p place, tree string, authority *authority) *world {
	t.Helper()
	netns := testhost.FindEngine(t, p.engine).Netns()
	if netns == nil {
		testhost.Missing(t, "only root enters the network of an engine")
	}
	home, err := os.MkdirTemp("/var/tmp", "op")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, place: p, netns: netns(), home: home, bin: filepath.Join(home, "bin"), rates: usual}
	if isLong() {
		w.rates = long
	}
	w.must(os.Chmod(home, 0o755))
	w.must(os.CopyFS(w.bin, os.DirFS(builtPrograms(t))))
	w.env = []string{"HOME=" + home, "PATH=" + w.bin + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "TERM=xterm", "LANG=C.UTF-8",
		"OPENSHELL_STATE_DIR=" + home + "/state", "OPENSHELL_RUNTIME_DIR=" + home + "/run", "OPENSHELL_BOOT_DEADLINE=" + patience.String(),
		"DOCKER_HOST=" + os.Getenv("DOCKER_HOST"), "CONTAINER_HOST=" + os.Getenv("CONTAINER_HOST")}
	for i, flag := range w.flags {
		w.flags[i] = strings.Replace(flag, "TREE", tree, 1)
	}
	t.Cleanup(w.end)
	w.servers = w.serve(authority)
	return w
}

// isLong says that this is no usual run.
func isLong() bool { return os.Getenv("OPENSHELL_PROGRAMS") == "long" }

// builtPrograms is ./bin of the checkout.
func builtPrograms(t testing.TB) string {
	dir := "../../bin"
	if _, err := os.Stat(filepath.Join(dir, "openshell-vm")); err != nil {
		t.Fatalf("%v (make build)", err)
	}
	return dir
}

// as returns the same world for a subtest, which gets its failures.
func (w *world) as(t *testing.T) *world {
	sub := *w
	sub.TB = t
	return &sub
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// here returns a command of this host's, in the engine's network.
func (w *world) here(ctx context.Context, dir string, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + w.netns, "--"}, argv...)...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = w.env, dir, 5*time.Second
	return cmd
}

// host runs lines of the page on the host, in a directory for them.
func (w *world) host(dir, lines string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	if out, err := w.here(ctx, dir, "sh", "-ec", lines).CombinedOutput(); err != nil {
		w.Fatalf("%v of\n%s\n%s", err, lines, out)
	}
}

// try runs the CLI.
func (w *world) try(args ...string) (stdout string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	cmd := w.here(ctx, w.home, append([]string{filepath.Join(w.bin, "openshell-vm")}, args...)...)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("openshell-vm %s: %w\n%s%s", strings.Join(args, " "), err, out.Bytes(), problem.Bytes())
	}
	return out.String(), err
}

func (w *world) run(args ...string) string {
	w.Helper()
	out, err := w.try(args...)
	w.must(err)
	return out
}

// inside runs lines in the sandbox.
func (w *world) inside(name, lines string) string {
	w.Helper()
	return w.run("exec", name, "sh", "-ec", lines)
}

// file writes a file of the page inside.
func (w *world) file(name, path, text string) {
	w.Helper()
	path = strings.Replace(path, "~", "$HOME", 1)
	w.inside(name, fmt.Sprintf("umask 077; mkdir -p \"$(dirname \"%s\")\"; cat >\"%s\" <<'EOF'\n%sEOF\n", path, path, text))
}

// named has the sandbox find the servers by their names.
func (w *world) named(name string) {
	w.Helper()
	address := w.address
	if w.driver == "vm" {
		address = "$(awk '/host.openshell.internal/ && $1 !~ /:/ { print $1; exit }' /etc/hosts)"
	}
	w.inside(name, fmt.Sprintf(`echo "%s %s" >>/etc/hosts`, address, strings.Join(serverNames, " ")))
}

// eventually waits for a condition, with a deadline.
func (w *world) eventually(what string, within time.Duration, ok func() bool) {
	w.Helper()
	if !testhost.Await(within, ok) {
		w.Fatalf("not within %v: %s", within, what)
	}
}

// sandbox is one as inspect shows it.
func (w *world) sandbox(name string) (s api.Sandbox) {
	w.Helper()
	var list []api.Sandbox
	w.must(json.Unmarshal([]byte(w.run("inspect", name, "-o", "json")), &list))
	return list[0]
}

// empty removes the sandboxes.
func (w *world) empty() {
	if names := strings.Fields(w.run("ps", "-aq")); len(names) > 0 {
		w.run(append([]string{"rm", "-f"}, names...)...)
	}
}

// end removes the sandboxes and the gateway. It fails the test if a mount is left.
func (w *world) end() {
	if w.Failed() {
		out, err := w.try("ps", "-a")
		w.Log(out, err)
		text, _ := os.ReadFile(filepath.Join(w.home, "state", "gateway.log"))
		w.Logf("%s", text[max(0, len(text)-8192):])
	}
	w.empty()
	w.run("gateway", "stop")
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(w.home)) {
		w.Errorf("a mount of %s is left: %v", w.home, err)
		return
	}
	w.must(errors.Join(os.RemoveAll(w.home)))
}
