package jailtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"syscall"
)

// Targets are what an intruder attacks: a Host, and places in its jail. Attempts on a place
// that is "" are left out.
type Targets struct {
	Host
	Share   string // a read-only directory that FillShare has filled
	Work    string // a directory that may be written to, in place of a Share
	Covered string // a directory that an empty one covers
	Scratch string // a writable directory in memory
	Disk    string // the VM's disk, which is a writable file
	Network bool   // the host's network, with all that TCP and UDP reach
}

// Attempt is one attempt and how it ended. Errno is 0 if it succeeded.
type Attempt struct {
	Name  string
	Errno syscall.Errno
	Says  string // the whole error
}

// unknownErrno stands for an error without an errno.
const unknownErrno = syscall.Errno(4095)

// Intrude makes every attempt, and writes one JSON line for each.
func Intrude(t Targets, out io.Writer) error {
	return attemptAll(tries(t), out)
}

// IntrudeOutside makes only the attempts that succeed without a jail and do no harm. It is
// the control. It changes the share.
func IntrudeOutside(t Targets, out io.Writer) error {
	return attemptAll(outside(tries(t)), out)
}

func attemptAll(list []try, out io.Writer) error {
	runtime.LockOSThread()
	runtime.GOMAXPROCS(2) // the runtime's own threads count, too: see JudgeThreads
	lines := json.NewEncoder(out)
	for _, try := range list {
		if err := lines.Encode(attempt(try)); err != nil {
			return err
		}
	}
	return nil
}

func attempt(try try) Attempt {
	a := Attempt{Name: try.name}
	if err := try.do(); err != nil {
		a.Says = err.Error()
		if !errors.As(err, &a.Errno) {
			a.Errno = unknownErrno
		}
	}
	return a
}

// StartThreads starts one thread after the other until it can't. Then the Go runtime prints
// the errno and ends the process: see JudgeThreads.
func StartThreads(out io.Writer) {
	debug.SetTraceback("none")
	for n := 1; n < 1000; n++ {
		runs := make(chan bool)
		go func() {
			runtime.LockOSThread()
			close(runs)
			select {}
		}()
		<-runs
		fmt.Fprintln(out, "thread", n)
	}
}
