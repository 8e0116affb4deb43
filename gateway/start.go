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

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

const (
	// connectEvery is how often a start looks whether the gateway listens.
	connectEvery = 5 * time.Millisecond
	// withdrawTime bounds how long a start waits for a supervisor that it ends.
	withdrawTime = 2 * time.Second
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
	if unit, err := startUnit(ctx, program); err == nil {
		return awaitUnit(ctx, unit)
	}
	return startParent(ctx, program)
}

func listens(ctx context.Context) bool {
	client, err := api.Connect(ctx)
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
		said := &tail{}
		reason, write, err := os.Pipe()
		if err != nil {
			return err
		}
		cmd := exec.Command(program, "--supervise")
		cmd.Dir, cmd.Stderr = "/", write
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		err = cmd.Start()
		write.Close()
		if err != nil {
			reason.Close()
			return fmt.Errorf("start %s: %w", program, err)
		}
		ended := make(chan int, 1)
		go func() {
			_, _ = reason.WriteTo(said) // ends with the supervisor
			_ = cmd.Wait()              // the code tells all
			ended <- cmd.ProcessState.ExitCode()
		}()
		again, err := awaitParent(ctx, ended, said)
		if err == nil && !again && !supervises(ctx, cmd.Process.Pid) {
			withdraw(cmd.Process, ended)
		}
		if !again {
			return err
		}
	}
}

// supervises says whether the gateway that listens was started by this process.
func supervises(ctx context.Context, supervisor int) bool {
	client, err := api.Connect(ctx)
	if err != nil {
		return false
	}
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", status.PID))
	_, rest, _ := bytes.Cut(stat, []byte(") ")) // state, parent, …
	fields := bytes.Fields(rest)
	return err == nil && len(fields) > 1 && string(fields[1]) == fmt.Sprint(supervisor)
}

// withdraw ends our supervisor where another one's gateway was quicker: ours
// must not come up later, perhaps after that one was stopped.
func withdraw(supervisor *os.Process, ended <-chan int) {
	_ = supervisor.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-ended:
	case <-time.After(withdrawTime):
	}
}

// awaitParent waits until a gateway listens, ours or another. again means that
// another held the lock, and has ended since without listening.
func awaitParent(ctx context.Context, ended <-chan int, said *tail) (again bool, err error) {
	patience := time.Now().Add(24 * time.Hour)
	for {
		if listens(ctx) {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case code := <-ended:
			if code != ExitTaken {
				return false, printed(said.bytes(), code)
			}
			patience = time.Now().Add(time.Second) // the other one is beginning, or ending
		case <-time.After(connectEvery):
			if time.Now().After(patience) {
				return true, nil
			}
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

// startUnit runs the gateway as a unit of the user's systemd, where there is one.
func startUnit(ctx context.Context, program string) (unit string, err error) {
	run, err := exec.LookPath("systemd-run")
	if err != nil {
		return "", err
	}
	// The user's manager listens here; without it systemd-run could only fail, slowly.
	if _, err := os.Stat(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "systemd/private")); err != nil || os.Getenv("XDG_RUNTIME_DIR") == "" {
		return "", errors.New("no user manager")
	}
	state, err := api.StateDir()
	if err != nil {
		return "", err
	}
	unit = unitName(state)
	out, err := exec.CommandContext(ctx, run, unitArgs(unit, program, os.Environ())...).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "already") { // it is being restarted: wait for it
		return "", fmt.Errorf("systemd-run: %w", err)
	}
	return unit, nil
}

// unitName is one per state directory.
func unitName(stateDir string) string {
	sum := sha256.Sum256([]byte(stateDir))
	return fmt.Sprintf("openshell-gateway-%x.service", sum[:4])
}

// unitArgs are systemd-run's. Sandboxes outlive the unit: only its own process is
// killed. Of the environment it gets what says where things are, by name:
// values don't go into arguments.
func unitArgs(unit, program string, environ []string) []string {
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
	return append(args, "--", program, "--supervised=systemd")
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// awaitUnit waits until the unit's gateway listens, or until the unit has ended.
func awaitUnit(ctx context.Context, unit string) error {
	for tries := 1; !listens(ctx); tries++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(connectEvery):
		}
		if tries%200 != 0 {
			continue
		}
		if exec.CommandContext(ctx, "systemctl", "--user", "--quiet", "is-active", unit).Run() != nil && !listens(ctx) {
			return &drivers.Error{Op: "start the gateway", Err: fmt.Errorf("the unit %s has ended", unit),
				Hint: "journalctl --user -u " + unit + " and " + logFile + " in the state directory tell why"}
		}
	}
	return nil
}
