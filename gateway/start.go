package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/procfs"
)

const (
	// connectEvery is how often a start looks whether the gateway listens.
	connectEvery = 5 * time.Millisecond
	// withdrawTime bounds how long a start waits for a supervisor that it ends.
	withdrawTime = 2 * time.Second
	// takenPatience is for another gateway that is beginning, or ending.
	takenPatience = time.Second
)

// Start starts a gateway in the background, under a supervisor, and returns
// once one listens. program is openshell-gateway's path. Started twice at once,
// one of both gateways takes the state lock, and both calls return when it listens.
func Start(ctx context.Context, program string) error {
	if listens(ctx) {
		return nil
	}
	if err := CheckHome(); err != nil {
		return err
	}
	for userManager() {
		u, err := startUnit(ctx, program)
		if err != nil {
			break
		}
		again, err := u.await(ctx)
		u.close()
		if !again {
			return err
		}
	}
	return startParent(ctx, program)
}

func listens(ctx context.Context) bool {
	client, err := api.Reach(ctx)
	if err != nil {
		return false
	}
	client.Close()
	return true
}

// startParent runs `openshell-gateway --supervise` in a session of its own. It
// holds none of our descriptors but a pipe, on which it says why it ends.
func startParent(ctx context.Context, program string) error {
	for {
		p, err := runParent(program)
		if err != nil {
			return err
		}
		again, err := p.await(ctx)
		if err == nil && !again && !supervises(ctx, p.process.Pid) {
			p.withdraw()
		}
		if !again {
			return err
		}
	}
}

// parent is a supervisor that was started here.
type parent struct {
	process *os.Process
	ended   chan struct{} // closed at its end; then the rest holds
	code    int
	said    tail
}

func runParent(program string) (*parent, error) {
	reason, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "--supervise")
	cmd.Dir, cmd.Stderr = "/", write
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	write.Close()
	if err != nil {
		reason.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	p := &parent{process: cmd.Process, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_, _ = reason.WriteTo(&p.said) // ends with the supervisor
		_ = cmd.Wait()                 // the code tells all
		p.code = cmd.ProcessState.ExitCode()
	}()
	return p, nil
}

// supervises says whether the gateway that listens was started by this process.
func supervises(ctx context.Context, supervisor int) bool {
	client, err := api.Reach(ctx)
	if err != nil {
		return false
	}
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil {
		return false
	}
	stat, err := procfs.ReadStat(status.PID)
	return err == nil && stat.Parent == supervisor
}

// withdraw ends our supervisor where another one's gateway was quicker: ours
// must not come up later, perhaps after that one was stopped.
func (p *parent) withdraw() {
	_ = p.process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(withdrawTime):
	}
}

// await waits until a gateway listens, ours or another. again means that
// another held the lock, and has ended since without listening.
func (p *parent) await(ctx context.Context) (again bool, err error) {
	ended := p.ended
	var patience <-chan time.Time // runs once ours has ended
	for {
		if listens(ctx) {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-ended:
			if p.code != ExitTaken {
				return false, printed(p.said.bytes(), p.code)
			}
			ended, patience = nil, time.After(takenPatience)
		case <-patience:
			return true, nil
		case <-time.After(connectEvery):
		}
	}
}

// printed makes an error of the lines that a gateway printed at its end.
func printed(text []byte, code int) error {
	e := &drivers.Error{Err: fmt.Errorf("the gateway ended with exit code %d before it listened", code), Hint: "read " + logFile + " in the state directory"}
	for line := range bytes.Lines(text) {
		line := strings.TrimSpace(string(line))
		if hint, ok := strings.CutPrefix(line, "hint: "); ok {
			e.Hint = hint
		} else if line != "" {
			e.Err = errors.New(strings.TrimPrefix(line, "openshell-gateway: "))
		}
	}
	return e
}

// userManager says whether the user's systemd runs: it listens here. Without it
// systemd-run could only fail, slowly.
func userManager() bool {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, "systemd/private"))
	return err == nil
}

// unit is a gateway that the user's systemd runs, and the FIFO on which it says
// why it can't.
type unit struct {
	name   string
	joined bool   // another one has started it
	dir    string // the FIFO's
	fifo   *os.File
	said   chan []byte
}

// startUnit runs the gateway as a unit of the user's systemd. One that is there
// and being restarted is waited for.
func startUnit(ctx context.Context, program string) (*unit, error) {
	state, err := api.StateDir()
	if err != nil {
		return nil, err
	}
	u := &unit{name: unitName(state), said: make(chan []byte, 1)}
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

// listen makes the FIFO. While it is open here, a refusal is the gateway's end.
func (u *unit) listen() (path string, err error) {
	if u.dir, err = os.MkdirTemp("", "openshell-gateway-start-"); err != nil {
		return "", err
	}
	path = filepath.Join(u.dir, "refusals")
	if err = unix.Mkfifo(path, 0o600); err == nil {
		// Open for writing, too: it has no end before it is closed.
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

// alive asks systemd for the unit's state, in words that are its interface.
func (u *unit) alive(ctx context.Context) bool {
	out, err := exec.CommandContext(ctx, "systemctl", "--user", "show", "--property=ActiveState", "--value", u.name).Output()
	return err == nil && slices.Contains([]string{"active", "activating", "reloading", "deactivating"}, strings.TrimSpace(string(out)))
}

// await waits until the unit's gateway listens, or has ended. again means that
// it was another one's, and was being stopped.
func (u *unit) await(ctx context.Context) (again bool, err error) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for !listens(ctx) {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case text := <-u.said:
			return false, printed(text, ExitRefused)
		case <-time.After(connectEvery):
			continue
		case <-look.C:
		}
		if !u.alive(ctx) && !listens(ctx) {
			return u.joined, &drivers.Error{Op: "start the gateway", Err: fmt.Errorf("the unit %s has ended", u.name),
				Hint: "journalctl --user -u " + u.name + " and " + logFile + " in the state directory tell why"}
		}
	}
	return false, nil
}

// unitName is one per state directory.
func unitName(stateDir string) string {
	sum := sha256.Sum256([]byte(stateDir))
	return fmt.Sprintf("openshell-gateway-%x.service", sum[:4])
}

// unit is the name of a unit that is not of startUnit's making; "" if there is none.
func (g *Gateway) unit() string {
	cgroups, err := procfs.Cgroups(procfs.Path(0, "cgroup"))
	if err != nil || g.opts.Supervisor != "systemd" {
		return ""
	}
	unit := unitOf(cgroups)
	if unit == unitName(g.home.State) {
		return ""
	}
	return unit
}

// unitOf finds the service in the hierarchy that is systemd's, of either version.
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

// unitArgs are systemd-run's. Sandboxes outlive the unit: only its own process is
// killed. A refusal that nobody reads is no end: see Persist. Of the environment it gets what says where things are, by name:
// values don't go into arguments.
func unitArgs(unit, program, refusals string, environ []string) []string {
	args := []string{"--user", "--quiet", "--collect", "--unit=" + unit, "--description=openshell-vm gateway",
		"--property=Type=exec", "--property=Restart=always", "--property=RestartSec=100ms", "--property=StartLimitIntervalSec=0",
		fmt.Sprintf("--property=RestartPreventExitStatus=%d %d %d", ExitOrderly, ExitTaken, ExitRefused),
		"--property=KillMode=process", "--property=LimitCORE=0"}
	slices.Sort(environ)
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if name == "PATH" || name == "HOME" || name == "USER" || hasAnyPrefix(name, "XDG_", "OPENSHELL_", "DOCKER_", "CONTAINER", "TMPDIR") {
			args = append(args, "--setenv="+name)
		}
	}
	return append(args, "--", program, "--supervised=systemd", "--refusals="+refusals)
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}
