package gateway

import (
	"cmp"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/procfs"
)

// bootID changes with every boot of the host; "" where it can't be known.
func bootID() string {
	id, _ := procfs.BootID()
	return id
}

// hostFacts are doctor's lines about what is no driver's.
func (g *Gateway) hostFacts() []api.Fact {
	where := func(dir string) string { return dir + " (" + state.FileSystem(dir) + ")" }
	facts := []api.Fact{
		{Name: "state", Value: where(g.home.State)},
		{Name: "runtime", Value: where(g.home.Runtime)},
		{Name: "shares", Value: where(g.home.Shares)},
		{Name: "supervisor", Value: g.opts.Supervisor},
		{Name: "clock", Value: clockState()},
		{Name: "kernel", Value: kernelRelease()},
		{Name: "logout", Value: cmp.Or(strings.Join(g.advice(), "; "), "nothing of this gateway ends with it")},
		{Name: "environment", Value: environmentLine(api.OwnEnvironment())},
	}
	facts = append(facts, g.roomFacts()...)
	for _, u := range g.unread("") {
		facts = append(facts, api.Fact{Name: "record", Value: u.ID + " can't be used: " + u.Problem})
	}
	return facts
}

// environmentLine is what the gateway was started with.
func environmentLine(e *api.Environment) string {
	line := "PATH=" + e.Path
	for _, f := range e.Variables {
		line += " " + f.Name + "=" + f.Value
	}
	return line
}

// advice is for who leaves something running.
func (g *Gateway) advice() []string {
	if g.opts.Advice == nil {
		return nil
	}
	return g.opts.Advice()
}

// clockState says whether something keeps the host's clock right: tokens are
// judged by it.
func clockState() string {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return "unknown: " + err.Error()
	}
	if t.Status&unix.STA_UNSYNC != 0 {
		return "not synchronized"
	}
	return "synchronized"
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown: " + err.Error()
	}
	return unix.ByteSliceToString(name.Release[:])
}
