package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/daemon"
	"openshell-vm/internal/procfs"
)

// patience bounds one wait for something to happen. It is generous: nothing here
// promises speed, and other tests keep the machine busy.
const patience = 2 * time.Minute

// envProgram lets the test program run as openshell-gateway. The processes that it starts
// inherit it.
const envProgram = "GATEWAY_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(envProgram) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// world is a state directory of its own, without systemd.
type world struct {
	*testing.T
	state   string
	gateway string // where install puts the program
}

func newWorld(t *testing.T) *world {
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t, filepath.Join(dir, "state"), filepath.Join(dir, "openshell-gateway")}
	t.Setenv(envProgram, "1")
	t.Setenv("HOME", dir)
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv(api.EnvStateDir, w.state)
	t.Setenv(api.EnvRuntimeDir, filepath.Join(dir, "run"))
	t.Cleanup(func() {
		w.stop()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(w.state, "gateway.log"))
			t.Logf("%s", log)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return w
}

// program runs openshell-gateway and returns its exit code and its output.
func (w *world) program(args ...string) (int, string) {
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	out, err := cmd.CombinedOutput() // returns once nobody holds the pipe any more
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// connect returns the gateway's process id, or 0 if none runs.
func (w *world) connect() (pid int) {
	client, err := api.Connect(w.Context())
	if err != nil {
		return 0
	}
	defer client.Close()
	status, err := client.Status(w.Context())
	if err != nil {
		return 0
	}
	return status.PID
}

func (w *world) stop() {
	client, err := api.Connect(context.Background())
	if err != nil {
		return
	}
	defer client.Close()
	if err := client.StopGateway(context.Background()); err != nil {
		w.Error(err)
	}
}

func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// parent returns a process's parent.
func parent(pid int) int {
	stat, _ := procfs.ReadStat(pid)
	return stat.Parent
}

// TestStartKillStop starts a gateway in the background, kills it, waits until its
// supervisor has restarted it, and stops it.
func TestStartKillStop(t *testing.T) {
	w := newWorld(t)
	if code, out := w.program("start"); code != 0 || out != "" {
		t.Fatalf("exit code %d, %q", code, out)
	}
	first := w.connect()
	supervisor := parent(first)
	if first == 0 || supervisor == os.Getpid() || !procfs.Runs(supervisor) {
		t.Fatalf("gateway %d, supervisor %d", first, supervisor)
	}
	for fd := range 3 {
		if target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", first, fd)); err != nil || fd < 2 && target != "/dev/null" {
			t.Errorf("the gateway's descriptor %d is %s, %v", fd, target, err)
		}
	}
	for _, pid := range []int{first, supervisor} {
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		if err != nil || !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 0 0 bytes") {
			t.Errorf("core dumps of %d are not off: %v\n%s", pid, err, limits)
		}
		// A program named by core_pattern still gets a core dump, without any memory.
		filter, err := os.ReadFile(fmt.Sprintf("/proc/%d/coredump_filter", pid))
		if err != nil || strings.Trim(string(filter), "0\n") != "" {
			t.Errorf("a core dump of %d has memory in it: %v, %s", pid, err, filter)
		}
	}
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.eventually("another one runs", func() bool { pid := w.connect(); return pid != 0 && pid != first })
	second := w.connect()
	if parent(second) != supervisor {
		t.Errorf("gateway %d has the parent %d, not %d", second, parent(second), supervisor)
	}
	w.stop()
	w.eventually("both are gone", func() bool { return !procfs.Runs(second) && !procfs.Runs(supervisor) })
	if w.connect() != 0 {
		t.Error("a stopped gateway came back")
	}
}

// TestStartedTwiceAtOnce starts a gateway several times at once. Each caller has to
// succeed, with one gateway.
func TestStartedTwiceAtOnce(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if code, out := w.program("--start"); code != 0 || out != "" {
					t.Errorf("exit code %d, %q", code, out)
				}
			})
		}
		all.Wait()
		pid := w.connect()
		owner, err := os.ReadFile(filepath.Join(w.state, "lock"))
		if err != nil || strings.TrimSpace(string(owner)) != strconv.Itoa(pid) {
			t.Errorf("gateway %d answers, %s has the lock, %v", pid, owner, err)
		}
		w.stop()
	}
}

// TestStartRightAfterStop starts a gateway while the old one may still hold the lock.
func TestStartRightAfterStop(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		if code, out := w.program("--start"); code != 0 {
			t.Fatalf("exit code %d, %s", code, out)
		}
		w.stop()
	}
}

// TestRefusals checks that each refusal is one line and a hint.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	refused := func(what string, code int, says string, args ...string) {
		t.Helper()
		got, out := w.program(args...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if got != code || len(lines) != 2 || !strings.HasPrefix(lines[0], "openshell-gateway: ") || !strings.HasPrefix(lines[1], "hint: ") || !strings.Contains(out, says) {
			t.Errorf("%s: exit code %d, %s", what, got, out)
		}
	}
	refused("a command that is none", daemon.ExitRefused, "nonsense", "nonsense")
	refused("an argument", daemon.ExitRefused, "nonsense", "serve", "nonsense")
	refused("a flag's value apart", daemon.ExitRefused, "true", "--start", "true")
	if code, out := w.program("--start"); code != 0 {
		t.Fatalf("exit code %d, %s", code, out)
	}
	refused("a second gateway", daemon.ExitTaken, "another gateway")
	w.stop()

	keys := filepath.Join(w.state, "keys")
	if err := os.Chmod(keys, 0o755); err != nil {
		t.Fatal(err)
	}
	refused("open keys", daemon.ExitRefused, "keys")
	refused("open keys, in the background", daemon.ExitRefused, "keys", "start")
	refused("open keys, as an older openshell-vm asks", daemon.ExitRefused, "keys", "--start")
	if err := os.Chmod(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(w.state, 0o755); err != nil {
		t.Fatal(err)
	}
	refused("open state", daemon.ExitRefused, "0755")
	refused("open state, in the background", daemon.ExitRefused, "0755", "--start")
	if err := os.Chmod(w.state, 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestClientStarts starts a gateway with the function that the CLI calls.
func TestClientStarts(t *testing.T) {
	w := newWorld(t)
	if _, err := api.Connect(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Fatalf("before: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	client, err := api.EnsureStarted(t.Context(), self)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if status, err := client.Status(t.Context()); err != nil || status.Supervisor != "parent" || status.StateDir != w.state {
		t.Errorf("%+v, %v", status, err)
	}
	w.stop()
	if err := os.Chmod(w.state, 0o750); err != nil {
		t.Fatal(err)
	}
	_, err = api.EnsureStarted(t.Context(), self)
	var refusal *api.Error
	if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, "0750") || !strings.Contains(refusal.Hint, "chmod 700") {
		t.Errorf("with open modes: %v", err)
	}
}
