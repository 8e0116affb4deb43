package krun

import (
	"fmt"
	"math"
)

// SetExec says what libkrun's init runs: the path in the guest, the arguments after it,
// and the whole environment. All of it travels on the guest's kernel command line.
// Everybody in the guest can read that: put no secret there. It has room for 1,320 bytes
// in all. Put longer text, double quotes and all but printable ASCII into a file. A
// variable with the name of a kernel parameter (root, init, quiet) sets that parameter.
//
// The init runs the command as its child and reports its exit code. With
// KRUN_INIT_PID1=1 in the environment it becomes the command instead.
func (c *Context) SetExec(path string, args, env []string) error {
	return c.apply(change{
		f:    setExec,
		args: []arg{str(path), vec(args), vec(env)},
		text: map[fn]int{setExec: len("KRUN_INIT=") + len(path) + quotedSize(args), setEnv: quotedSize(env)},
		check: func(symbol string) error {
			if path == "" {
				return invalid(symbol, "the path is empty")
			}
			if err := checkWord(symbol, path); err != nil {
				return err
			}
			for _, a := range args {
				if err := checkQuoted(symbol, a); err != nil {
					return err
				}
			}
			return checkEnv(symbol, env)
		},
	})
}

// SetEnv replaces the environment of what the guest runs, also SetExec's. Nil is empty.
func (c *Context) SetEnv(env []string) error {
	return c.apply(change{f: setEnv, args: []arg{vec(env)}, text: map[fn]int{setEnv: quotedSize(env)},
		check: func(symbol string) error { return checkEnv(symbol, env) }})
}

// SetWorkdir sets the working directory, a path in the guest.
func (c *Context) SetWorkdir(dir string) error {
	return c.apply(change{f: setWorkdir, args: []arg{str(dir)},
		text:  map[fn]int{setWorkdir: len("KRUN_WORKDIR=") + len(dir)},
		check: func(symbol string) error { return checkWord(symbol, dir) }})
}

// Rlimit is a resource limit of what the guest runs.
type Rlimit struct {
	// Resource is the guest's RLIMIT_ number: on Linux, 7 limits open files. libkrun's
	// init knows no names, and takes one for the number 0.
	Resource   int
	Soft, Hard uint64 // RlimitInfinity means no limit
}

// RlimitInfinity is no limit.
const RlimitInfinity uint64 = math.MaxUint64

// maxRlimit is the last resource of Linux, RLIMIT_RTTIME.
const maxRlimit = 15

// SetRlimits sets resource limits, at least one: libkrun's init reads past the end of an
// empty list.
func (c *Context) SetRlimits(limits []Rlimit) error {
	var entries []string
	for _, l := range limits {
		entries = append(entries, fmt.Sprintf("%d=%d:%d", l.Resource, l.Soft, l.Hard))
	}
	return c.apply(change{f: setRlimits, args: []arg{vec(entries)},
		text: map[fn]int{setRlimits: len("KRUN_RLIMITS=") + quotedSize(entries)},
		check: func(symbol string) error {
			if len(limits) == 0 {
				return invalid(symbol, "no limits")
			}
			for _, l := range limits {
				if l.Resource < 0 || l.Resource > maxRlimit || l.Soft > l.Hard {
					return invalid(symbol, "%+v is not a limit that Linux has", l)
				}
			}
			return nil
		}})
}

// quotedSize is how many bytes words take, each in quotes and with a space.
func quotedSize(words []string) int {
	n := 0
	for _, s := range words {
		n += len(s) + len(`"" `)
	}
	return n
}
