package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/procfs"
)

// faultLasts is how long a fault lasts if it leaves no line in the log.
const faultLasts = time.Second

// fault is a short fault during the restart of a gateway.
type fault struct {
	name        string
	cause, mend func(w *world, supervisor int) error
	says        string // in the log; "" if the log can't be written
}

// faults returns faults that need no mount. For a read-only file system see
// TestReadOnlyForAMoment.
func faults() []fault {
	var limits unix.Rlimit
	return []fault{
		{"mode", func(w *world, _ int) error { return os.Chmod(w.state, 0o755) },
			func(w *world, _ int) error { return os.Chmod(w.state, 0o700) }, "mode 0755"},
		{"descriptors", func(_ *world, pid int) error {
			return errors.Join(unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limits), unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limits.Max}, nil))
		}, func(_ *world, pid int) error { return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limits, nil) }, ""},
		{"replaced", func(w *world, _ int) error { return os.Rename(w.gateway, w.gateway+".old") },
			func(w *world, _ int) error { return os.Rename(w.gateway+".old", w.gateway) }, "no such file"},
	}
}

// install links the test program to w.gateway, a path that may be renamed.
func (w *world) install() {
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	if os.Link(self, w.gateway) == nil {
		return
	}
	data, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(w.gateway, data, 0o700)
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) log() string {
	text, _ := os.ReadFile(filepath.Join(w.state, "gateway.log"))
	return string(text)
}

// TestFaultsOfAMoment checks that a gateway comes back after a fault during its restart.
func TestFaultsOfAMoment(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) { survives(newWorld(t), f) })
	}
}

func survives(w *world, f fault) {
	w.install()
	if out, err := exec.Command(w.gateway, "--start").CombinedOutput(); err != nil {
		w.Fatalf("%v, %s", err, out)
	}
	first := w.connect()
	supervisor := parent(first)
	w.must(f.cause(w, supervisor))
	if err := syscall.Kill(first, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) { // the cause may have ended it
		w.must(err)
	}
	w.eventually("the gateway is gone", func() bool { return !procfs.Runs(first) })
	if f.says != "" {
		w.eventually("the log says it", func() bool { return strings.Contains(w.log(), f.says) })
	} else {
		time.Sleep(faultLasts)
	}
	if pid := w.connect(); pid != 0 {
		w.Errorf("gateway %d runs in spite of the fault", pid)
	}
	w.must(f.mend(w, supervisor))
	w.eventually("another one runs", func() bool { return w.connect() != 0 })
	if got := parent(w.connect()); got != supervisor {
		w.Errorf("its parent is %d, not %d", got, supervisor)
	}
}

const envInside = "GATEWAY_TEST_INSIDE"

// TestReadOnlyForAMoment runs itself again in its own mount namespace.
func TestReadOnlyForAMoment(t *testing.T) {
	if os.Getenv(envInside) == "" {
		inNamespaces(t)
		return
	}
	w := newWorld(t)
	w.must(os.Mkdir(w.state, 0o700))
	w.must(unix.Mount("none", w.state, "tmpfs", 0, "mode=0700"))
	t.Cleanup(func() { w.stop(); _ = unix.Unmount(w.state, unix.MNT_DETACH) })
	remount := func(flags uintptr) func(*world, int) error {
		return func(w *world, _ int) error {
			var err error
			w.eventually("it is remounted", func() bool { // what was killed may still hold a file
				err = unix.Mount("none", w.state, "", unix.MS_REMOUNT|flags, "")
				return !errors.Is(err, unix.EBUSY)
			})
			return err
		}
	}
	f := fault{name: "read-only", cause: func(w *world, supervisor int) error {
		// While a gateway runs its log is open, so the file system can't be made read-only.
		w.must(syscall.Kill(supervisor, syscall.SIGSTOP))
		w.must(syscall.Kill(w.connect(), syscall.SIGKILL))
		w.must(remount(unix.MS_RDONLY)(w, 0))
		return syscall.Kill(supervisor, syscall.SIGCONT)
	}, mend: remount(0)}
	survives(w, f)
}

// systemd starts a gateway as a unit does.
func (w *world) systemd(args ...string) *exec.Cmd {
	w.install()
	cmd := exec.Command(w.gateway, append([]string{"--supervised=systemd"}, args...)...)
	w.must(cmd.Start())
	w.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return cmd
}

// TestRefusedUnderSystemd checks that the unit's gateway waits until the cause is gone,
// because nobody would start it again.
func TestRefusedUnderSystemd(t *testing.T) {
	w := newWorld(t)
	w.must(os.Mkdir(w.state, 0o755))
	cmd := w.systemd()
	time.Sleep(faultLasts)
	if pid := w.connect(); pid != 0 || !procfs.Runs(cmd.Process.Pid) {
		t.Fatalf("gateway %d answers, or it has ended", pid)
	}
	w.must(os.Chmod(w.state, 0o700))
	w.eventually("it serves", func() bool { return w.connect() == cmd.Process.Pid })
}

// TestFirstRefusalIsRead checks that the process which waits for the start gets the
// refusal, and that the gateway ends.
func TestFirstRefusalIsRead(t *testing.T) {
	w := newWorld(t)
	w.must(os.Mkdir(w.state, 0o755))
	fifo := filepath.Join(filepath.Dir(w.state), "refusals")
	w.must(unix.Mkfifo(fifo, 0o600))
	reader, err := os.OpenFile(fifo, os.O_RDWR|unix.O_NONBLOCK, 0)
	w.must(err)
	defer reader.Close()
	cmd := w.systemd("--refusals=" + fifo)
	w.must(reader.SetReadDeadline(time.Now().Add(patience)))
	text := make([]byte, 4096)
	n, err := reader.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), "mode 0755") || !strings.Contains(string(text[:n]), "\nhint: ") {
		t.Errorf("%q, %v", text[:n], err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 125 {
		t.Error(err)
	}
}

// manager fakes the user's systemd, which this machine does not have: a systemd-run and a
// systemctl of two lines each, and a directory in place of the manager's socket.
func (w *world) manager(run, show string) {
	dir := filepath.Dir(w.state)
	bin, runtime := filepath.Join(dir, "bin"), filepath.Join(dir, "xdg")
	w.must(os.MkdirAll(bin, 0o700))
	w.must(os.MkdirAll(filepath.Join(runtime, "systemd/private"), 0o700))
	w.must(os.WriteFile(filepath.Join(bin, "systemd-run"), []byte("#!/bin/sh\n"+run), 0o700))
	w.must(os.WriteFile(filepath.Join(bin, "systemctl"), []byte("#!/bin/sh\n"+show), 0o700))
	w.Setenv("XDG_RUNTIME_DIR", runtime)
	w.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

// afterDashes runs a unit's command: systemd-run's arguments after "--".
const afterDashes = `while [ "$1" != -- ]; do shift; done; shift; "$@" </dev/null >/dev/null 2>&1 & `

func TestStartByUnit(t *testing.T) {
	w := newWorld(t)
	w.manager(afterDashes+"exit 0", "echo active")
	if code, out := w.program("--start"); code != 0 || out != "" {
		t.Fatalf("exit code %d, %q", code, out)
	}
	client, err := api.Connect(t.Context())
	w.must(err)
	defer client.Close()
	if status, err := client.Status(t.Context()); err != nil || status.Supervisor != "systemd" {
		t.Errorf("%+v, %v", status, err)
	}
	w.stop()
	// Only the unit's gateway finds what is wrong with the keys.
	w.must(os.Chmod(filepath.Join(w.state, "keys"), 0o755))
	if code, out := w.program("--start"); code != 125 || !strings.Contains(out, "keys") || strings.Count(out, "\n") != 2 {
		t.Errorf("exit code %d, %q", code, out)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "openshell-gateway-start-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	w.must(os.Chmod(filepath.Join(w.state, "keys"), 0o700))
}

// TestUnitIsThere has a unit that is being restarted. systemd-run fails then, with a text
// in any language, and the start has to wait for the unit.
func TestUnitIsThere(t *testing.T) {
	w := newWorld(t)
	mark := filepath.Join(filepath.Dir(w.state), "tried")
	w.manager("touch "+mark+"; echo 'Es gibt sie schon' >&2; exit 1", "[ \"$2\" = show ] && echo activating")
	ended := make(chan string, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		self, _ := os.Executable()
		out, err := exec.CommandContext(ctx, self, "--start").CombinedOutput()
		ended <- fmt.Sprint(err, " ", string(out))
	}()
	w.eventually("systemd-run was tried", func() bool { _, err := os.Stat(mark); return err == nil })
	cmd := w.systemd()
	if end := <-ended; end != "<nil> " {
		t.Error(end)
	}
	if pid := w.connect(); pid != cmd.Process.Pid {
		t.Errorf("gateway %d answers, not %d", pid, cmd.Process.Pid)
	}
}
