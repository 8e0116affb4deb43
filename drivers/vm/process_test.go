package vm

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers/vm/monitor"
)

// fakeMonitor starts a process whose arguments look like a monitor's. It holds the lock
// of dir and does nothing.
func fakeMonitor(t *testing.T, dir string, name string) *exec.Cmd {
	t.Helper()
	lock, err := monitor.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	cmd := exec.Command("sh", "-c", "echo $$ > $1/"+monitor.LockFile+"; read forever", name, dir)
	cmd.ExtraFiles = []*os.File{lock}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Process.Kill(); cmd.Wait() })
	waitFor(t, func() bool { pid, err := monitor.PID(dir); return err == nil && pid == cmd.Process.Pid })
	return cmd
}

func TestWaitGone(t *testing.T) {
	dir := t.TempDir()
	if err := waitGone(t.Context(), dir); err != nil {
		t.Errorf("no monitor: %v", err)
	}
	cmd := fakeMonitor(t, dir, "monitor")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := waitGone(ctx, dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a monitor that lives: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- waitGone(t.Context(), dir) }()
	cmd.Process.Kill()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("its end was not seen")
	}
}

func TestKillMonitor(t *testing.T) {
	dir := t.TempDir()
	fakeMonitor(t, dir, "monitor")
	if err := killMonitor(t.Context(), dir); err != nil || monitor.Alive(dir) {
		t.Errorf("%v, alive: %v", err, monitor.Alive(dir))
	}
	if err := killMonitor(t.Context(), dir); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestAnotherProcessIsNotKilled checks that a process is left alone if it has a
// monitor's process id and is not a monitor.
func TestAnotherProcessIsNotKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := fakeMonitor(t, dir, "bystander")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := killMonitor(ctx, dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("it was killed: %v", err)
	}
}
