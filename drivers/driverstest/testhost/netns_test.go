package testhost

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// role is set for this test's binary when it is not to run tests: "enter", with a user
// namespace of its own, or "stay", with a network namespace of its own besides.
const role = "TESTHOST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "enter":
		if err := enterOften(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "stay":
		_, _ = os.Stdin.Read(make([]byte, 1))
	default:
		os.Exit(m.Run())
	}
}

// as returns a command that is this test's binary in a role.
func as(what string, flags uintptr) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"="+what)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd
}

// TestInNetnsLeavesTheProcess holds that what /proc/self and /proc/net tell stays that of the
// process, however often another network was entered.
func TestInNetnsLeavesTheProcess(t *testing.T) {
	cmd := as("enter", syscall.CLONE_NEWUSER)
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func enterOften() error {
	stay := as("stay", syscall.CLONE_NEWNET)
	in, err := stay.StdinPipe()
	if err != nil {
		return err
	}
	if err := stay.Start(); err != nil {
		return err
	}
	defer func() {
		in.Close()
		_ = stay.Wait()
	}()
	other := fmt.Sprintf("/proc/%d/ns/net", stay.Process.Pid)
	theirs, err := os.Readlink(other)
	if err != nil {
		return err
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	for n := range 200 {
		err := InNetns(other, func() error {
			if now, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || now != theirs {
				return fmt.Errorf("in the other network: %s, not %s (%v)", now, theirs, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if now, err := os.Readlink("/proc/self/ns/net"); err != nil || now != ours {
			return fmt.Errorf("after entering it %d times this process is in %s, not %s (%v)", n+1, now, ours, err)
		}
	}
	return nil
}
