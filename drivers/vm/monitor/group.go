package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/jail"
)

// group holds the processes that together are one VM. The death of one is the end of
// all. They die with the monitor: each has a parent-death signal. The kernel ties that
// signal to the thread that started the process, so one thread that never ends starts
// them all.
type group struct {
	start chan func()
	died  chan death // gets one for each member

	mu      sync.Mutex
	members map[string]*jail.Cmd
	servers map[string]bool // members that serve the hypervisor
	reports map[string]jail.Report
	killed  bool // nothing is started any more
	all     sync.WaitGroup
}

// death is a process of the VM that has ended.
type death struct {
	name   string
	err    error // nil for exit status 0
	server bool  // it was one of the hypervisor's file servers
}

func (d death) String() string {
	if d.err == nil {
		return d.name + " ended"
	}
	return d.name + " ended: " + d.err.Error()
}

// forced reports whether the process did not end by itself: a signal ended it, or its
// jail could not be made.
func (d death) forced() bool {
	var exit *exec.ExitError
	return d.err != nil && (!errors.As(d.err, &exit) || !exit.Exited())
}

// bySIGKILL reports whether SIGKILL ended the process. Then its last words say nothing
// about why.
func (d death) bySIGKILL() bool {
	var exit *exec.ExitError
	if !errors.As(d.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// byFault reports whether the process crashed: a signal for an error of its own, such
// as SIGSEGV or SIGABRT, ended it.
func (d death) byFault() bool {
	var exit *exec.ExitError
	if !errors.As(d.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && slices.Contains(faults, status.Signal())
}

var faults = []syscall.Signal{syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE}

func newGroup() *group {
	g := &group{
		start: make(chan func()), died: make(chan death, 16),
		members: map[string]*jail.Cmd{}, servers: map[string]bool{}, reports: map[string]jail.Report{},
	}
	go func() {
		runtime.LockOSThread()
		for f := range g.start {
			f()
		}
	}()
	return g
}

// runUntil starts cmd as the member p. It does not wait for the jail: a jail that fails is
// a death. died is told of the death; with report for died, it ends the VM. After kill,
// runUntil starts nothing.
func (g *group) runUntil(p hypervisor.Process, cmd *jail.Cmd, died func(death)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.killed {
		cmd.Close()
		return errKilled
	}
	started := make(chan error)
	g.start <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	g.members[p.Name], g.servers[p.Name] = cmd, p.Server
	g.all.Go(func() {
		died(death{p.Name, g.wait(p.Name, cmd), p.Server})
	})
	return nil
}

var errKilled = errors.New("the VM ends")

// report passes a death to died. It drops the death if nobody has read many before it.
func (g *group) report(d death) {
	select {
	case g.died <- d:
	default:
	}
}

func (g *group) wait(name string, cmd *jail.Cmd) error {
	report, jailErr := cmd.Report()
	g.mu.Lock()
	g.reports[name] = report
	g.mu.Unlock()
	err := cmd.Wait()
	if jailErr != nil {
		return jailErr
	}
	return err
}

// causeTime is how long the others may take to follow the process that died first.
const causeTime = 100 * time.Millisecond

// cause collects the deaths that follow the first, and returns the one that caused the
// others. If a file server ended by itself, it has most likely lost its hypervisor.
// The hypervisor's own end may come later, so cause waits for it up to portGrace.
func (g *group) cause(first death) death {
	within := causeTime
	if first.server && !first.forced() {
		within = portGrace
	}
	deaths, late := []death{first}, time.After(within)
	for {
		select {
		case d := <-g.died:
			deaths = append(deaths, d)
			if d.forced() || !d.server {
				late = time.After(causeTime)
			}
		case <-late:
			return culprit(deaths)
		}
	}
}

// culprit returns the death that caused the others: the one of most weight, and of
// equal ones the first.
func culprit(deaths []death) death {
	return slices.MaxFunc(deaths, func(a, b death) int { return cmp.Compare(a.weight(), b.weight()) })
}

// weight says how well a death explains the others. A forced death explains them best.
// Next comes a hypervisor that ended without an error: the guest wanted that, and its
// file servers follow, with or without an error.
func (d death) weight() int {
	switch {
	case d.forced():
		return 3
	case d.err == nil && !d.server:
		return 2
	case d.err != nil:
		return 1
	}
	return 0
}

// kill ends every member and waits until all have ended.
func (g *group) kill() {
	g.mu.Lock()
	g.killed = true
	for _, cmd := range g.members {
		cmd.Process.Kill()
	}
	g.mu.Unlock()
	g.all.Wait()
}

// killer returns a function that kills the member that has a name now.
func (g *group) killer(name string) func() {
	g.mu.Lock()
	defer g.mu.Unlock()
	process := g.members[name].Process
	return func() { process.Kill() }
}

// isKilled reports whether kill was called.
func (g *group) isKilled() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.killed
}

// end kills what is left of a VM after a death, and returns the death that caused the
// others. The messages that the VM has sent can still be read.
func (g *group) end(first death) death {
	cause := g.cause(first)
	g.kill()
	for {
		select {
		case <-g.died:
		default:
			return cause
		}
	}
}

// pids returns the members' process ids by name.
func (g *group) pids() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	pids := map[string]int{}
	for name, cmd := range g.members {
		pids[name] = cmd.Process.Pid
	}
	return pids
}

// gaps returns, for people, what each jail lacks: what this host can't give, and what
// the program has to keep. A jail that lacks nothing is in the list, too.
func (g *group) gaps() []drivers.Fact {
	g.mu.Lock()
	defer g.mu.Unlock()
	var facts []drivers.Fact
	for _, name := range slices.Sorted(maps.Keys(g.reports)) {
		facts = append(facts, drivers.Fact{Name: "jail of " + name, Value: g.reports[name].Verdict()})
	}
	return facts
}
