package daemon

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/fault"
	"openshell-vm/internal/procfs"
)

// userManager reports whether the user's systemd runs: it listens on that socket. Without it
// systemd-run would only fail slowly.
func userManager() bool {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, "systemd/private"))
	return err == nil
}

// unit is a gateway that the user's systemd runs, with the FIFO on which it says why it
// can't run.
type unit struct {
	name   string
	joined bool   // somebody else has started it
	dir    string // the FIFO's directory
	fifo   *os.File
	said   chan []byte
}

// startUnit runs the gateway as a unit of the user's systemd. If that unit is there already,
// or is just being restarted, it joins the unit.
func startUnit(ctx context.Context, program string) (*unit, error) {
	dir, err := api.StateDir()
	if err != nil {
		return nil, err
	}
	u := &unit{name: unitName(dir), said: make(chan []byte, 1)}
	refusals, err := u.listen()
	if err != nil {
		return nil, err
	}
	run := exec.CommandContext(ctx, "systemd-run", unitArgs(u.name, program, refusals, os.Environ())...)
	if err := run.Run(); err != nil {
		if u.joined = u.alive(ctx); !u.joined {
			u.close()
			return nil, fmt.Errorf("systemd-run: %w", err)
		}
	}
	return u, nil
}

// listen makes the FIFO. While it is open here, a refusal ends the gateway.
func (u *unit) listen() (path string, err error) {
	if u.dir, err = os.MkdirTemp("", "openshell-gateway-start-"); err != nil {
		return "", err
	}
	path = filepath.Join(u.dir, "refusals")
	if err = unix.Mkfifo(path, 0o600); err == nil {
		// Opened for writing, too, so that a read does not end before somebody writes.
		u.fifo, err = os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		os.RemoveAll(u.dir)
		return "", err
	}
	go func() {
		text := make([]byte, maxTail)
		if n, err := u.fifo.Read(text); err == nil {
			u.said <- text[:n]
		}
	}()
	return path, nil
}

func (u *unit) close() {
	u.fifo.Close()
	os.RemoveAll(u.dir)
}

// alive asks systemd for the unit's state. The words of ActiveState are a stable interface.
func (u *unit) alive(ctx context.Context) bool {
	out, err := exec.CommandContext(ctx, "systemctl", "--user", "show", "--property=ActiveState", "--value", u.name).Output()
	return err == nil && slices.Contains([]string{"active", "activating", "reloading", "deactivating"}, strings.TrimSpace(string(out)))
}

// await waits until the unit's gateway listens, or has ended. again means that somebody else
// had started the unit, and it was being stopped.
func (u *unit) await(ctx context.Context) (again bool, err error) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for !api.Listens(ctx) {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case text := <-u.said:
			return false, printed(text, ExitRefused)
		case <-time.After(connectEvery):
			continue
		case <-look.C:
		}
		if !u.alive(ctx) && !api.Listens(ctx) {
			return u.joined, &fault.Error{Op: "start the gateway", Err: fmt.Errorf("the unit %s has ended", u.name),
				Hint: "journalctl --user -u " + u.name + " and " + state.LogFile + " in the state directory tell why"}
		}
	}
	return false, nil
}

// unitName returns the unit's name. Each state directory has its own.
func unitName(stateDir string) string {
	sum := sha256.Sum256([]byte(stateDir))
	return fmt.Sprintf("openshell-gateway-%x.service", sum[:4])
}

// Unit returns the name of the user's own service that runs this process, if systemd
// restarts it; "" if there is none, or if startUnit has made it. stateDir is the gateway's.
func Unit(stateDir, supervisor string) string {
	cgroups, err := procfs.Cgroups(procfs.Path(0, "cgroup"))
	if err != nil || supervisor != "systemd" {
		return ""
	}
	unit := unitOf(cgroups)
	if unit == unitName(stateDir) {
		return ""
	}
	return unit
}

// unitOf finds the service in systemd's hierarchy, of either version.
func unitOf(cgroups []procfs.Cgroup) string {
	for _, c := range cgroups {
		if !c.V2 && !slices.Contains(c.Controllers, "name=systemd") {
			continue
		}
		if unit := filepath.Base(c.Path); strings.HasSuffix(unit, ".service") {
			return unit
		}
	}
	return ""
}

// unitArgs returns systemd-run's arguments. Sandboxes outlive the unit, since only its own
// process is killed. RestartPreventExitStatus has ExitRefused, since Persist decides whether
// a refusal is final. Of the environment the unit gets the variables that say where things
// are. They are passed by name, so that no value is on a command line.
func unitArgs(unit, program, refusals string, environ []string) []string {
	args := []string{"--user", "--quiet", "--collect", "--unit=" + unit, "--description=openshell-vm gateway",
		"--property=Type=exec", "--property=Restart=always", "--property=RestartSec=100ms", "--property=StartLimitIntervalSec=0",
		fmt.Sprintf("--property=RestartPreventExitStatus=%d %d %d", ExitOrderly, ExitTaken, ExitRefused),
		"--property=KillMode=process", "--property=LimitCORE=0"}
	slices.Sort(environ)
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if name == "PATH" || name == "HOME" || name == "USER" ||
			hasAnyPrefix(name, "XDG_", "OPENSHELL_", "DOCKER_", "CONTAINER", "TMPDIR") {
			args = append(args, "--setenv="+name)
		}
	}
	return append(args, "--", program, "serve", "--restarted-by=systemd", "--refusals="+refusals)
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}
