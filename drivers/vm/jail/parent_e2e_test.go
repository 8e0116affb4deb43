//go:build e2e

package jail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/jail/jailtest"
)

// strayName is the test binary's name if Main has to run on another thread than the one that was forked.
// Go's scheduler does that now and then.
const strayName = "stray"

func init() {
	enter := roles["jail"]
	roles["jail"] = func(args []string) {
		if filepath.Base(os.Args[0]) == strayName {
			stray(func() { enter(args) })
			return
		}
		enter(args)
	}
	roles["parent"] = beParent
}

// stray runs f on a thread that is not the process's first.
func stray(f func()) {
	if unix.Gettid() != os.Getpid() {
		f()
		return
	}
	runtime.LockOSThread() // keeps the first thread from everybody else
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// beParent starts a jail with the binary args[0], writes its process id and
// waits for its own end.
func beParent(args []string) {
	runtime.LockOSThread()
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	binds, err := Program(context.Background(), self)
	if err != nil {
		panic(err)
	}
	cmd, err := Command(args[0], Config{
		Name: "parent-" + strconv.Itoa(os.Getpid()), Profile: Strict, Path: self, Args: []string{"sleep"},
		Binds: binds, Proc: true, Devices: []string{"/dev/null"}, Tasks: 64,
	})
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = cmd.Report()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(cmd.Process.Pid)
	time.Sleep(time.Hour)
}

// TestAJailDiesWithItsParent kills the process that started a jail. The jail has to die, whichever of its
// threads became the program.
func TestAJailDiesWithItsParent(t *testing.T) {
	jailtest.AsBoth(t, func(t *testing.T) {
		for _, name := range []string{"usual", strayName} {
			self := filepath.Join(t.TempDir(), name)
			jailtest.CopyFile(t, jailtest.Self(t), self)
			for range 5 {
				jailed, kill := parentOfJail(t, self)
				kill()
				awaitEnd(t, jailed)
			}
		}
	})
}

// parentOfJail starts a jail from a process of its own. It returns the process in the jail, and a
// function that kills the one that started it.
func parentOfJail(t *testing.T, self string) (jailed int, kill func()) {
	t.Helper()
	parent := exec.Command(jailtest.Self(t), "parent", self)
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		parent.Process.Kill()
		parent.Wait()
	}
	var line [64]byte
	n, err := io.ReadAtLeast(out, line[:], 2)
	said := strings.TrimSpace(string(line[:n]))
	if jailed, e := strconv.Atoi(said); err == nil && e == nil {
		return jailed, kill
	}
	kill()
	t.Fatalf("the parent says %q, %v", said, err)
	return 0, nil
}

func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	} else if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
		if err == nil && n > 0 {
			return
		}
	}
	unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	t.Fatalf("process %d outlives what started its jail", pid)
}

// TestAJailWhoseParentHasEndedDoesNotStart gives a jail a parent that has ended before the jail asks for
// the parent-death signal.
func TestAJailWhoseParentHasEndedDoesNotStart(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(gone.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Wait(); err != nil {
		t.Fatal(err)
	}
	cmd, err := Command(jailtest.Self(t), ownConfig(t, "sleep"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.parent.Close()
	cmd.parent = os.NewFile(uintptr(fd), "gone")
	cmd.ExtraFiles[len(cmd.ExtraFiles)-1] = cmd.parent
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = cmd.Report()
	cmd.Process.Kill()
	cmd.Wait()
	if err == nil || !strings.Contains(err.Error(), "what started it has ended") {
		t.Errorf("the jail starts, or fails with %v", err)
	}
}
