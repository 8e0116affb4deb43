package monitor

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// group is the processes that together are one VM. The death of one is the
// end of all. They die with the monitor: each has a parent-death signal,
// which the kernel ties to the thread that started it, so one thread that never
// ends starts them all.
type group struct {
	start chan func()
	died  chan death // holds the first death

	mu      sync.Mutex
	members map[string]*exec.Cmd
	all     sync.WaitGroup
}

// death is a process of the VM that has ended.
type death struct {
	name string
	err  error // nil for exit status 0
}

func (d death) String() string {
	if d.err == nil {
		return d.name + " ended"
	}
	return d.name + " ended: " + d.err.Error()
}

func newGroup() *group {
	g := &group{start: make(chan func()), died: make(chan death, 1), members: map[string]*exec.Cmd{}}
	go func() {
		runtime.LockOSThread()
		for f := range g.start {
			f()
		}
	}()
	return g
}

// run starts cmd as a member.
func (g *group) run(name string, cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.WaitDelay = time.Second // for a pipe end that outlives the process
	started := make(chan error)
	g.start <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	g.mu.Lock()
	g.members[name] = cmd
	g.mu.Unlock()
	g.all.Add(1)
	go func() {
		defer g.all.Done()
		err := cmd.Wait()
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil
		}
		select {
		case g.died <- death{name, err}:
		default:
		}
	}()
	return nil
}

// kill ends every member and waits until all have ended.
func (g *group) kill() {
	g.mu.Lock()
	for _, cmd := range g.members {
		cmd.Process.Kill()
	}
	g.mu.Unlock()
	g.all.Wait()
}

// pids are the members' process ids by name.
func (g *group) pids() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	pids := map[string]int{}
	for name, cmd := range g.members {
		pids[name] = cmd.Process.Pid
	}
	return pids
}
