package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// reaping returns a table whose reaper ends with the test, so that other tests can wait
// for their own children.
func reaping(t *testing.T) *procs {
	t.Helper()
	sigchld := make(chan os.Signal, 1)
	signal.Notify(sigchld, unix.SIGCHLD)
	t.Cleanup(func() { signal.Stop(sigchld); close(sigchld) })
	return newProcs(sigchld)
}

func startShell(t *testing.T, p *procs, script string) (int, <-chan unix.WaitStatus) {
	t.Helper()
	pid, done, err := p.start("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{
		Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return pid, done
}

func await(t *testing.T, done <-chan unix.WaitStatus) int {
	t.Helper()
	select {
	case status := <-done:
		return exitCode(status)
	case <-time.After(time.Minute):
		t.Fatal("no status came")
		return 0
	}
}

func TestProcsGiveEachItsStatus(t *testing.T) {
	p := reaping(t)
	var all [20]<-chan unix.WaitStatus
	for i := range all {
		_, all[i] = startShell(t, p, "exit "+string(rune('0'+i%10)))
	}
	for i, done := range all {
		if got := await(t, done); got != i%10 {
			t.Errorf("process %d ended with %d", i, got)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.running) != 0 {
		t.Errorf("%d processes are still kept", len(p.running))
	}
}

func TestProcsSignal(t *testing.T) {
	p := reaping(t)
	pid, done := startShell(t, p, "exec sleep 1000")
	p.signal(pid, unix.SIGTERM)
	if got := await(t, done); got != 128+int(unix.SIGTERM) {
		t.Errorf("it ended with %d", got)
	}
	p.signal(pid, unix.SIGTERM) // it may be another's number by now
	p.killGroup(pid)

	pid, done = startShell(t, p, "trap '' TERM; sleep 1000; sleep 1000")
	p.killGroup(pid)
	if got := await(t, done); got != 128+int(unix.SIGKILL) {
		t.Errorf("it ended with %d", got)
	}
}

func TestProcsStartFails(t *testing.T) {
	p := reaping(t)
	if _, _, err := p.start("/no/such/program", []string{"x"}, &syscall.ProcAttr{}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a missing program gives %v", err)
	}
	p.closed = true
	if _, _, err := p.start("/bin/sh", []string{"sh"}, &syscall.ProcAttr{}); !errors.Is(err, errLeft) {
		t.Errorf("a start during the end gives %v", err)
	}
}
