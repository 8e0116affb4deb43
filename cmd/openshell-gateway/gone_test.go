package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/procfs"
)

// supervised is a supervisor with its standard error and its first gateway.
type supervised struct {
	*world
	cmd     *exec.Cmd
	says    *bytes.Buffer // once it has ended
	ended   chan struct{}
	gateway int
}

func (w *world) supervise() *supervised {
	w.install()
	s := &supervised{world: w, cmd: exec.Command(w.gateway, "supervise"), says: &bytes.Buffer{}, ended: make(chan struct{})}
	s.cmd.Stderr = s.says
	w.must(s.cmd.Start())
	go func() { _ = s.cmd.Wait(); close(s.ended) }()
	w.Cleanup(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		<-s.ended
	})
	w.eventually("its gateway serves", func() bool { s.gateway = w.connect(); return s.gateway != 0 })
	return s
}

// leavesNothing expects both processes to end by themselves with one line of output. They
// must not make the state directory again.
func (s *supervised) leavesNothing() {
	s.Helper()
	s.ends()
	if said := s.says.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "was deleted: "+s.state) {
		s.Errorf("it says %q", said)
	}
	if _, err := os.Lstat(s.state); !os.IsNotExist(err) {
		s.Errorf("the state directory was made anew: %v", err)
	}
}

func (s *supervised) ends() {
	s.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.Fatal("the supervisor is left")
	}
	s.eventually("the gateway ends", func() bool { return !procfs.Runs(s.gateway) })
}

// deleteState deletes the state directory. It tries again if the gateway writes there
// meanwhile.
func (w *world) deleteState() {
	w.eventually("the state directory is deleted", func() bool { return os.RemoveAll(w.state) == nil })
}

// TestStateDeleted checks that supervisor and gateway end if the state directory was
// deleted: while the gateway runs, after it was killed, or if its program is gone too.
func TestStateDeleted(t *testing.T) {
	t.Run("while-it-runs", func(t *testing.T) {
		s := newWorld(t).supervise()
		s.deleteState()
		s.leavesNothing()
	})
	t.Run("and-it-is-killed", func(t *testing.T) {
		s := newWorld(t).supervise()
		s.deleteState()
		s.must(syscall.Kill(s.gateway, syscall.SIGKILL))
		s.leavesNothing()
	})
	t.Run("with-the-program", func(t *testing.T) {
		s := newWorld(t).supervise()
		s.must(os.Remove(s.world.gateway))
		s.must(syscall.Kill(s.gateway, syscall.SIGKILL))
		s.eventually("it is tried", func() bool { return strings.Contains(s.log(), "no such file") })
		s.deleteState()
		s.leavesNothing()
	})
	t.Run("and-replaced", func(t *testing.T) {
		s := newWorld(t).supervise()
		s.must(os.Mkdir(s.state+".new", 0o700)) // of another inode
		s.deleteState()
		s.must(os.Rename(s.state+".new", s.state))
		s.must(syscall.Kill(s.gateway, syscall.SIGKILL))
		s.ends()
		if left, err := os.ReadDir(s.state); err != nil || len(left) > 0 {
			t.Errorf("it holds %v, %v", left, err)
		}
	})
}

// TestProgramIsGone checks that the supervisor tries to start a missing program as long
// as the state directory is there, and that it logs this once.
func TestProgramIsGone(t *testing.T) {
	s := newWorld(t).supervise()
	s.must(os.Rename(s.world.gateway, s.world.gateway+".old"))
	s.must(syscall.Kill(s.gateway, syscall.SIGKILL))
	s.eventually("it is said", func() bool { return strings.Contains(s.log(), "no such file") })
	time.Sleep(time.Second) // a few tries
	if n := strings.Count(s.log(), "no such file"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	s.must(os.Rename(s.world.gateway+".old", s.world.gateway))
	s.eventually("another one runs", func() bool { return s.connect() != 0 })
}

// TestStateNotMounted checks that the supervisor waits for a state directory whose file
// system is not mounted, and that it is not made again below the mount point. The test
// runs itself again in its own mount namespace.
func TestStateNotMounted(t *testing.T) {
	if os.Getenv(envInside) == "" {
		inNamespaces(t)
		return
	}
	w := newWorld(t)
	disk := filepath.Join(filepath.Dir(w.state), "disk")
	aside := disk + ".aside"
	for _, dir := range []string{disk, aside} {
		w.must(os.Mkdir(dir, 0o700))
	}
	w.must(unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	w.must(unix.Mount("none", disk, "tmpfs", 0, "mode=0700"))
	t.Cleanup(func() { w.stop(); _ = unix.Unmount(disk, unix.MNT_DETACH) })
	w.state = filepath.Join(disk, "state")
	t.Setenv("OPENSHELL_STATE_DIR", w.state)
	s := w.supervise()
	id, err := os.ReadFile(filepath.Join(w.state, "gateway.json"))
	w.must(err)

	w.must(s.cmd.Process.Signal(syscall.SIGSTOP))
	w.must(syscall.Kill(s.gateway, syscall.SIGKILL))
	w.must(unix.Mount(disk, aside, "", unix.MS_MOVE, ""))
	w.must(s.cmd.Process.Signal(syscall.SIGCONT))
	time.Sleep(faultLasts)
	if made, err := os.ReadDir(disk); err != nil || len(made) > 0 || !procfs.Runs(s.cmd.Process.Pid) {
		t.Errorf("it made %v, %v, or it has ended", made, err)
	}
	w.must(unix.Mount(aside, disk, "", unix.MS_MOVE, ""))
	w.eventually("another one runs", func() bool { return w.connect() != 0 })
	if now, err := os.ReadFile(filepath.Join(w.state, "gateway.json")); err != nil || !bytes.Equal(now, id) {
		t.Errorf("it is %s now, was %s, %v", now, id, err)
	}
}

// inNamespaces runs the test again, in a user and a mount namespace of its own.
func inNamespaces(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), envInside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Skip("no user namespace can be made here: ", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestRenewsWithoutLog checks that the gateway serves even if its log can't be written.
func TestRenewsWithoutLog(t *testing.T) {
	w := newWorld(t)
	w.must(os.Mkdir(w.state, 0o700))
	w.must(unix.Mkfifo(filepath.Join(w.state, "gateway.log"), 0o600))
	if code, out := w.program("--start"); code != 0 {
		t.Fatalf("exit code %d, %q", code, out)
	}
	w.must(os.Remove(filepath.Join(w.state, "gateway.log"))) // what a failed test prints would hang
}
