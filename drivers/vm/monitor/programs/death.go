package programs

import (
	"cmp"
	"errors"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// Death is a process of the VM that has ended.
type Death struct {
	Name   string
	Err    error // nil for exit status 0
	Server bool  // it was one of the hypervisor's file servers
}

func (d Death) String() string {
	if d.Err == nil {
		return d.Name + " ended"
	}
	return d.Name + " ended: " + d.Err.Error()
}

// Forced reports whether the process did not end by itself: a signal ended it, or its
// jail could not be made.
func (d Death) Forced() bool {
	var exit *exec.ExitError
	return d.Err != nil && (!errors.As(d.Err, &exit) || !exit.Exited())
}

// BySIGKILL reports whether SIGKILL ended the process. Then its last words say nothing
// about why.
func (d Death) BySIGKILL() bool {
	signal, ok := d.signal()
	return ok && signal == syscall.SIGKILL
}

// ByFault reports whether the process crashed: a signal for an error of its own, such
// as SIGSEGV or SIGABRT, ended it.
func (d Death) ByFault() bool {
	signal, ok := d.signal()
	return ok && slices.Contains(faults, signal)
}

// signal returns the signal that ended the process; ok is false if none did.
func (d Death) signal() (s syscall.Signal, ok bool) {
	var exit *exec.ExitError
	if !errors.As(d.Err, &exit) {
		return 0, false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return status.Signal(), ok && status.Signaled()
}

var faults = []syscall.Signal{syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE}

// weight says how well a death explains the others. A forced death explains them best.
// Next comes a hypervisor that ended without an error: the guest wanted that, and its
// file servers follow, with or without an error.
func (d Death) weight() int {
	switch {
	case d.Forced():
		return 3
	case d.Err == nil && !d.Server:
		return 2
	case d.Err != nil:
		return 1
	}
	return 0
}

// causeTime is how long the others may take to follow the process that died first.
const causeTime = 100 * time.Millisecond

// causeLate bounds how much later than its file servers a hypervisor may end, on a busy
// host.
const causeLate = 5 * time.Second

// cause collects the deaths that follow the first, and returns the one that caused the
// others. If a file server ended by itself, it has most likely lost its hypervisor.
// The hypervisor's own end may come later, so cause waits for it up to causeLate.
func (g *Group) cause(first Death) Death {
	within := causeTime
	if first.Server && !first.Forced() {
		within = causeLate
	}
	deaths, late := []Death{first}, time.After(within)
	for {
		select {
		case d := <-g.Died:
			deaths = append(deaths, d)
			if d.Forced() || !d.Server {
				late = time.After(causeTime)
			}
		case <-late:
			return culprit(deaths)
		}
	}
}

// culprit returns the death that caused the others: the one of most weight, and of
// equal ones the first.
func culprit(deaths []Death) Death {
	return slices.MaxFunc(deaths, func(a, b Death) int { return cmp.Compare(a.weight(), b.weight()) })
}

// End kills what is left of a VM after a death, and returns the death that caused the
// others. The messages that the VM has sent can still be read.
func (g *Group) End(first Death) Death {
	cause := g.cause(first)
	g.Kill()
	for {
		select {
		case <-g.Died:
		default:
			return cause
		}
	}
}
