package inroot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lead makes the share in auth lead somewhere.
func lead(t *testing.T, auth, target string) {
	t.Helper()
	next := filepath.Join(auth, "..new")
	if err := errors.Join(os.Symlink(target, next), os.Rename(next, filepath.Join(auth, "..data"))); err != nil {
		t.Fatal(err)
	}
}

// apart runs a script in a mount namespace of its own, until the test ends. It says a line when it
// has done what it should.
func apart(t *testing.T, script string) (pid int) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "set -e\n"+script+"\necho done\nexec cat >/dev/null")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	var said strings.Builder
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		t.Skip("no mount namespace can be made here: ", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	t.Cleanup(func() { in.Close(); _, _ = io.Copy(io.Discard, out); _ = cmd.Wait() })
	if line != "done\n" {
		t.Skipf("it can't mount: %q, %v, %s", line, err, &said)
	}
	return cmd.Process.Pid
}

func TestGeneration(t *testing.T) {
	dir := t.TempDir()
	auth, other := filepath.Join(dir, "auth"), filepath.Join(dir, "other")
	for _, d := range []string{auth, other, filepath.Join(dir, "in")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lead(t, auth, "..gen-00000007")
	lead(t, other, "..gen-00000099")
	pid := apart(t, fmt.Sprintf("mount --make-rprivate /; cd %q; mount -t tmpfs none in; mkdir in/share; mount --bind auth in/share; "+
		"ln -s share in/link; ln -s /proc/self/root in/magic; mkdir in/hidden; mount --bind other in/hidden", dir))
	var l Looker
	at := func(name string) (uint64, error) {
		return l.Generation(t.Context(), name, pid, filepath.Join(dir, name), auth)
	}
	for _, name := range []string{"auth", "in/share", "in/link"} {
		if n, err := at(name); n != 7 || err != nil {
			t.Errorf("%s: generation %d, %v", name, n, err)
		}
	}
	for _, name := range []string{"other", "in/hidden", "in/none", "in", "in/magic" + dir + "/auth"} {
		if n, err := at(name); !errors.Is(err, ErrElsewhere) {
			t.Errorf("%s: generation %d, %v", name, n, err)
		}
	}
	lead(t, auth, "..gen-00000008")
	if n, err := at("in/share"); n != 8 || err != nil {
		t.Errorf("after a publish: generation %d, %v", n, err)
	}
	for _, evil := range []string{"/etc/passwd", "..gen-8", "../..gen-00000008", "..gen-00000008/" + strings.Repeat("x", 200)} {
		lead(t, auth, evil)
		if n, err := at("in/share"); err == nil {
			t.Errorf("..data leads to %q: generation %d", evil, n)
		}
	}
	if len(l.under) != 0 {
		t.Errorf("%d looks are left", len(l.under))
	}
}

func TestProcessDone(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := new(Looker).Generation(t.Context(), "", cmd.Process.Pid, "/", t.TempDir()); !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

// TestHangs: a file system that does not answer holds up one look, and no other. The look ends when
// the file system does.
func TestHangs(t *testing.T) {
	dir := t.TempDir()
	auth, stuck := filepath.Join(dir, "auth"), filepath.Join(dir, "stuck")
	if err := errors.Join(os.Mkdir(auth, 0o755), os.Mkdir(stuck, 0o755)); err != nil {
		t.Fatal(err)
	}
	lead(t, auth, "..gen-00000007")
	fuse, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no FUSE here: ", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=0", fuse, os.Getuid())
	if err := unix.Mount("none", stuck, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		unix.Close(fuse)
		t.Skip("it can't be mounted here: ", err)
	}
	closed := false
	end := func() {
		if !closed {
			closed = true
			unix.Close(fuse)
			_ = unix.Unmount(stuck, unix.MNT_DETACH)
		}
	}
	t.Cleanup(end)
	var l Looker
	for range 2 { // the second one finds the first one's look
		if _, err := l.Generation(t.Context(), "stuck", os.Getpid(), filepath.Join(stuck, "auth"), auth); !errors.Is(err, ErrHangs) {
			t.Fatal(err)
		}
	}
	if n, err := l.Generation(t.Context(), "other", os.Getpid(), auth, auth); n != 7 || err != nil {
		t.Errorf("the other: generation %d, %v", n, err)
	}
	l.mu.Lock()
	under := len(l.under)
	l.mu.Unlock()
	if under != 1 {
		t.Errorf("%d looks are under way, wanted 1", under)
	}
	end()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		under := len(l.under)
		l.mu.Unlock()
		if under == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the look goes on")
		}
	}
}
