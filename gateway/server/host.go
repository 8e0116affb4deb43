package server

import (
	"cmp"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// hostFacts returns doctor's lines on the host and this gateway.
func (s gatewayRoutes) hostFacts() []api.Fact {
	where := func(dir string) string { return dir + " (" + state.FileSystem(dir) + ")" }
	facts := []api.Fact{
		{Name: "state", Value: where(s.Roster.Home.State)},
		{Name: "runtime", Value: where(s.Roster.Home.Runtime)},
		{Name: "shares", Value: where(s.Roster.Home.Shares)},
		{Name: "supervisor", Value: s.opts.Supervisor},
		{Name: "clock", Value: clockState()},
		{Name: "kernel", Value: kernelRelease()},
		{Name: "logout", Value: cmp.Or(strings.Join(s.advice(), "; "), "nothing of this gateway ends with it")},
		{Name: "environment", Value: environmentLine(api.OwnEnvironment())},
	}
	facts = append(facts, s.Reserves.Facts()...)
	for _, u := range s.Roster.Unread("") {
		facts = append(facts, api.Fact{Name: "record", Value: u.ID + " can't be used: " + u.Problem})
	}
	return facts
}

// environmentLine returns the environment that the gateway was started with, in one line.
func environmentLine(e *api.Environment) string {
	line := "PATH=" + e.Path
	for _, f := range e.Variables {
		line += " " + f.Name + "=" + f.Value
	}
	return line
}

// advice returns Options.Advice's lines, if there are any.
func (s gatewayRoutes) advice() []string {
	if s.opts.Advice == nil {
		return nil
	}
	return s.opts.Advice()
}

// clockState says whether the host's clock is synchronized. The lifetimes of tokens depend
// on that clock.
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
