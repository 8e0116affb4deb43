package main

import (
	"bytes"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// procs starts processes, and reaps them and all orphans of the guest. Nothing else in
// the init waits for a child, so no exit status gets lost.
type procs struct {
	mu      sync.Mutex // held from fork to entry in running, and while reaping
	running map[int]chan<- unix.WaitStatus
	closed  bool          // start fails from now on
	none    chan struct{} // closed when no child is left; nil if nobody waits for that
}

// newProcs starts to reap: whenever sigchld gets a signal.
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

// signal signals a process that start returned. It does nothing if that process has
// been reaped: its pid may belong to another process by then.
func (p *procs) signal(pid int, sig unix.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.running[pid]; ok {
		unix.Kill(pid, sig)
	}
}

// killGroup kills a process that start returned, and all others in its process group.
// The process has to be a session's leader.
func (p *procs) killGroup(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.running[pid]; ok {
		unix.Kill(-pid, unix.SIGKILL)
	}
}

// killAll kills every process of the guest but the init, and waits until they are gone,
// up to wait. After that start fails.
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

// countProcesses returns how many processes there are beside this one and the kernel's own;
// 0 if the kernel does not tell cheaply.
func countProcesses() int64 {
	own, err := os.ReadFile("/proc/2/task/2/children") // of kthreadd: all of the kernel's
	if err != nil {
		return 0
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0
	}
	all := 0
	for _, name := range names {
		if name[0] >= '1' && name[0] <= '9' {
			all++
		}
	}
	return max(0, int64(all-len(bytes.Fields(own))-2)) // this one and kthreadd
}

// exitCode returns the exit code that shells and container tools give for a status:
// 128+n after signal n.
func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
