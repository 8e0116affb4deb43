// Package procfs reads what the kernel tells of processes in /proc: the one place
// that knows what those files look like. Tables of mounts are in package mounts.
//
// What is not promised: that a process number still means the process that it meant
// when it was got. A number is used again after its process was reaped. Who acts on
// what was read here opens a pidfd first and reads then, or compares Stat.Started.
//
// Names and arguments are a process's own words. They may hold anything.
package procfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Path is the file of that name of process pid; of this one if pid is 0.
func Path(pid int, name string) string {
	if pid == 0 {
		return "/proc/self/" + name
	}
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}

// PIDs lists the processes in sight, in no order. Each may have ended by now.
func PIDs() (all []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// Stat is what the kernel says of a process in one line.
type Stat struct {
	State   string // one letter: R runs, S sleeps, T is stopped, Z waits for its parent, …
	Parent  int    // 0 where it is not in sight
	Started uint64 // in ticks since the boot; with the process number it is unique
}

// Ended says that there is nothing left of the process but a number, for its parent
// to collect.
func (s Stat) Ended() bool { return s.State == "Z" || s.State == "X" }

// ReadStat reads the line of process pid, and of this one if pid is 0. The error of a
// process that was reaped is fs.ErrNotExist.
func ReadStat(pid int) (Stat, error) {
	data, err := os.ReadFile(Path(pid, "stat"))
	if err != nil {
		return Stat{}, err
	}
	return parseStat(string(data))
}

var errStat = errors.New("no line of /proc/PID/stat")

// parseStat reads "12 (name) S 1 … 22 fields in all, and more". The name may hold
// anything, ") " too: the last parenthesis ends it.
func parseStat(line string) (s Stat, err error) {
	const state, parent, started = 0, 1, 19 // counted from behind the name
	f := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(f) <= started || !strings.Contains(line, "(") {
		return s, errStat
	}
	s.State = f[state]
	if s.Parent, err = strconv.Atoi(f[parent]); err != nil {
		return Stat{}, errStat
	}
	if s.Started, err = strconv.ParseUint(f[started], 10, 64); err != nil {
		return Stat{}, errStat
	}
	return s, nil
}

// Runs says whether process pid is there and has not ended. One that only waits for
// its parent has.
func Runs(pid int) bool {
	s, err := ReadStat(pid)
	return err == nil && !s.Ended()
}

// Args are the arguments of process pid, its name first. One that has ended, or is
// the kernel's, has none.
func Args(pid int) ([]string, error) {
	data, err := os.ReadFile(Path(pid, "cmdline"))
	if err != nil || len(data) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"), nil
}

// Word is the content of a file that holds one, as comm and wchan do; "" where it
// can't be read.
func Word(pid int, name string) string {
	data, _ := os.ReadFile(Path(pid, name))
	return strings.TrimSpace(string(data))
}

// Field is the value of a line "name: value" in a file, as status, fdinfo and meminfo
// are made of. Where there are several lines, the first one counts.
func Field(file, name string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s has no line %s", file, name)
}

// Cgroup is one line of /proc/PID/cgroup: a hierarchy, and where the process is in it.
type Cgroup struct {
	V2          bool
	Controllers []string // of version 1; "name=…" stands for a hierarchy that has none
	Path        string   // from the root of the process's cgroup namespace
}

// Cgroups reads such a file. Lines that it does not understand are left out.
func Cgroups(file string) ([]Cgroup, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return ParseCgroups(string(data)), nil
}

// ParseCgroups is Cgroups of what was read already.
func ParseCgroups(text string) (all []Cgroup) {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(f) != 3:
		case f[0] == "0" && f[1] == "":
			all = append(all, Cgroup{V2: true, Path: f[2]})
		case f[1] != "":
			all = append(all, Cgroup{Controllers: strings.Split(f[1], ","), Path: f[2]})
		}
	}
	return all
}

// BootID changes with every boot of the host.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}
