//go:build e2e && takeover

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/gateway/api"
)

// takeoverUser is a user with a gateway.
type takeoverUser struct {
	name    string
	uid     int
	env     []string // more of the gateway's environment: where the engines are
	engines []engine
}

// takeoverUsers returns root, with both engines, and an ordinary user with rootless Podman. The
// engines are those of scripts/engines.
func takeoverUsers(t *testing.T) []takeoverUser {
	for _, name := range []string{"DOCKER_HOST", "CONTAINER_HOST", "OPENSHELL_ROOTLESS_HOST"} {
		if os.Getenv(name) == "" {
			t.Fatalf("%s is not set: make takeover starts the engines, as root", name)
		}
	}
	return []takeoverUser{
		{"root", 0, []string{"DOCKER_HOST=" + os.Getenv("DOCKER_HOST"), "CONTAINER_HOST=" + os.Getenv("CONTAINER_HOST")}, engines},
		{"rootless", rootlessUser, []string{"CONTAINER_HOST=" + os.Getenv("OPENSHELL_ROOTLESS_HOST")}, []engine{engines[0], engines[2]}},
	}
}

// rootlessUser is the user of rootless Podman in scripts/engines.
const rootlessUser = 16000

const allPrograms = "openshell-*"

// takeover is a world that begins with an older version's programs.
type takeover struct {
	*world
	old     string // where these lie
	boxes   []*box // they run
	stopped *box   // it was stopped by the old gateway
	share   string // the directory of the share of the user's own
	own     *container
	ownLife string
}

// box is one sandbox that the old version has made.
type box struct {
	engine
	name   string
	before api.Sandbox // under the old gateway
	began  string      // what the workload said when it began
	life   string      // its container or its VM's processes, as the host has them
}

// workload prints once who it is, and then each generation that it sees. It ends with 7 if it is
// asked to end.
const workload = `echo "began $WORD $$ $(cut -d' ' -f22 /proc/$$/stat) $(cat /proc/sys/kernel/random/boot_id)"
trap 'echo ends; exit 7' TERM
while :; do
	now=$(sed -n 's/.*"generation": *\([0-9]*\).*/\1/p' /etc/openshell/auth/metadata.json)
	[ "$now" = "$seen" ] || echo "generation $now"
	seen=$now
	sleep 0.2
done`

func newTakeover(t *testing.T, user takeoverUser, old string) *takeover {
	w := &takeover{world: newWorld(t, user.uid), old: old}
	if user.uid != 0 { // its sockets lie in the state directory then
		w.env = slices.DeleteFunc(w.env, func(v string) bool { return strings.HasPrefix(v, api.EnvRuntimeDir+"=") })
	}
	w.env = append(w.env, user.env...)
	w.install(old, allPrograms)
	return w
}

// install replaces programs whose names match pattern. It renames files, as a package manager does.
func (w *takeover) install(from, pattern string) {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(from, pattern))
	w.must(err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		w.must(err)
		at := filepath.Join(w.bin, filepath.Base(file))
		w.must(errors.Join(os.WriteFile(at+".new", data, 0o755), os.Rename(at+".new", at)))
	}
}

// await is eventually for conditions that need processes to check.
func (w *takeover) await(what string, ok func() bool) {
	w.Helper()
	w.eventually(what, patience, func() bool { return ok() || pause(300*time.Millisecond) })
}

// pause sleeps and returns false.
func pause(d time.Duration) bool { time.Sleep(d); return false }

// variable returns the value of a variable in the world's environment.
func (w *takeover) variable(name string) string {
	for _, v := range w.env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// life identifies a sandbox's running process or container on the host. It changes at each start.
func (w *takeover) life(b *box) string {
	w.Helper()
	if cli := w.cli(b.driver); cli != nil {
		return w.containerLife(cli, w.containerOf(b))
	}
	for pid, cmdline := range w.processes() {
		if strings.Contains(cmdline, "openshell-vmm") && strings.Contains(cmdline, w.sandbox(b.name).ID) {
			return fmt.Sprint(family(pid)) // in order
		}
	}
	w.Fatalf("%s has no monitor", b.name)
	return ""
}

// containerOf returns the engine's own id of a sandbox, from inspect.
func (w *takeover) containerOf(b *box) string {
	w.Helper()
	for _, f := range w.sandbox(b.name).Details {
		if f.Name == "container" {
			return f.Value
		}
	}
	w.Fatalf("inspect %s names no container: %+v", b.name, w.sandbox(b.name).Details)
	return ""
}

func (w *takeover) containerLife(cli []string, id string) string {
	w.Helper()
	return strings.TrimSpace(w.engine(cli, "inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Pid}} {{.State.Running}}", id))
}

// cli returns the command line of the world's own engine; nil if the driver has none.
func (w *takeover) cli(driver string) []string {
	for _, e := range ownEngines {
		if e.name == driver {
			return append(slices.Clone(e.command), w.variable(e.hostVar))
		}
	}
	return nil
}

func (w *takeover) engine(cli []string, args ...string) string {
	w.Helper()
	return (&container{world: w.world, cli: cli}).engine(args...)
}

// client is a command of the CLI that runs in the background.
type client struct {
	said  capture.Buffer // on both streams
	ended chan int       // its exit code
}

func (w *takeover) background(args ...string) *client {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 5*patience)
	w.Cleanup(cancel)
	c := &client{ended: make(chan int, 1)}
	cmd := w.command(ctx, "openshell-vm", args...)
	cmd.Stdout, cmd.Stderr = &c.said, &c.said
	w.must(cmd.Start())
	go func() {
		_ = cmd.Wait() // the code tells
		c.ended <- cmd.ProcessState.ExitCode()
	}()
	return c
}
