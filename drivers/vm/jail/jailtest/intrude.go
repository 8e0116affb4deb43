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

// Targets are what an intruder goes for: a Host's, and places in its jail. An
// attempt on a place that is "" is left out.
type Targets struct {
	Host
	Share   string // a read-only directory that FillShare has filled
	Covered string // a directory over which there is an empty one
	Scratch string // a writable directory in memory
	Disk    string // the VM's disk, which is a writable file
}

// Attempt is one that was made, and how it ended. Errno is 0 if it succeeded.
type Attempt struct {
	Name  string
	Errno syscall.Errno
	Says  string // the whole error
}

// unknownErrno is for an error that has none.
const unknownErrno = syscall.Errno(4095)

// Intrude makes every attempt, one JSON line each.
func Intrude(t Targets, out io.Writer) error {
	return attemptAll(tries(t), out)
}

// IntrudeOutside makes those attempts that succeed where nothing hinders them,
// and do no harm: a control. It changes the share.
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

// StartThreads starts one thread after the other until it can't. The Go runtime
// then ends the process and says the errno: see JudgeThreads.
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
