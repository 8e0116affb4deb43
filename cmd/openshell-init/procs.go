package main

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// procs starts processes and reaps them, and all orphans of the guest. It is
// the only place that waits, so that no status goes to the wrong hands.
type procs struct {
	mu      sync.Mutex // held from fork to entry in running, and while reaping
	running map[int]chan<- unix.WaitStatus
	closed  bool          // nothing is started any more
	none    chan struct{} // not nil: closed when there is no child left
}

// newProcs reaps whenever sigchld says so.
func newProcs(sigchld <-chan os.Signal) *procs {
	p := &procs{running: map[int]chan<- unix.WaitStatus{}}
	go func() {
		for range sigchld {
			p.reap()
		}
	}()
	return p
}

// start runs a program as a child. Its status is sent on done, once.
func (p *procs) start(file string, args []string, attr *syscall.ProcAttr) (pid int, done <-chan unix.WaitStatus, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, nil, errLeft
	}
	pid, err = syscall.ForkExec(file, args, attr)
	if err != nil {
		return 0, nil, err
	}
	status := make(chan unix.WaitStatus, 1)
	p.running[pid] = status
	return pid, status, nil
}

func (p *procs) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD && p.none != nil:
			close(p.none)
			p.none = nil
			return
		case err != nil || pid == 0:
			return
		}
		if done, ok := p.running[pid]; ok {
			done <- status
			delete(p.running, pid)
		}
	}
}

// signal reaches a process that start gave, and does nothing if it has ended:
// its number may be another's by then.
func (p *procs) signal(pid int, sig unix.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.running[pid]; ok {
		unix.Kill(pid, sig)
	}
}

// killGroup kills a process that start gave as a session's leader, and what it
// started in its group.
func (p *procs) killGroup(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.running[pid]; ok {
		unix.Kill(-pid, unix.SIGKILL)
	}
}

// killAll kills every process of the guest but the init, and waits until they
// are gone, at most as long as told. Nothing can be started after it.
func (p *procs) killAll(wait time.Duration) {
	none := make(chan struct{})
	p.mu.Lock()
	p.none, p.closed = none, true
	p.mu.Unlock()
	unix.Kill(-1, unix.SIGKILL)
	p.reap()
	select {
	case <-none:
	case <-time.After(wait):
		logf("processes are left after %v", wait)
	}
}

// exitCode is a status as shells and container tools give it.
func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
