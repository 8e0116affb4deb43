// Package procfs reads what the kernel tells of processes in /proc. Only this package knows
// the form of those files; tables of mounts are in package mounts.
//
// What is not promised: that a pid still means the same process. The kernel uses it again
// after the process was reaped. To act on a process, open a pidfd first and read then, or
// compare Stat.Started.
//
// A process sets its own name and arguments. They may contain anything.
package procfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Path returns the path of process pid's file of that name. pid 0 means this process.
func Path(pid int, name string) string {
	if pid == 0 {
		return "/proc/self/" + name
	}
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}

// PIDs lists the processes that can be seen, in no order. Each may have ended by now.
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
	Parent  int    // 0 if it can't be seen
	Started uint64 // in ticks since the boot; unique together with the pid
	Ticks   uint64 // of CPU time that it has used, in its own code and in the kernel's
}

// Ended reports whether the process has ended and only waits to be reaped.
func (s Stat) Ended() bool { return s.State == "Z" || s.State == "X" }

// ReadStat reads the Stat of process pid; pid 0 means this process. If the process was
// reaped, the error is fs.ErrNotExist.
func ReadStat(pid int) (Stat, error) {
	data, err := os.ReadFile(Path(pid, "stat"))
	if err != nil {
		return Stat{}, err
	}
	return parseStat(string(data))
}

var errStat = errors.New("no line of /proc/PID/stat")

// parseStat reads "12 (name) S 1 …", with at least 22 fields. The name may contain anything,
// even ") ": the last parenthesis ends it.
func parseStat(line string) (s Stat, err error) {
	const state, parent, own, kernels, started = 0, 1, 11, 12, 19 // counted after the name
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
	for _, i := range []int{own, kernels} {
		n, err := strconv.ParseUint(f[i], 10, 64)
		if err != nil {
			return Stat{}, errStat
		}
		s.Ticks += n
	}
	return s, nil
}

// Runs reports whether process pid is there and has not ended. A zombie has ended.
func Runs(pid int) bool {
	s, err := ReadStat(pid)
	return err == nil && !s.Ended()
}

// Args returns the arguments of process pid, the program's name first. A process that has
// ended and a kernel thread have none.
func Args(pid int) ([]string, error) {
	data, err := os.ReadFile(Path(pid, "cmdline"))
	if err != nil || len(data) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"), nil
}

// Word returns the content of a file with a single word, such as comm or wchan; "" if it
// can't be read.
func Word(pid int, name string) string {
	data, _ := os.ReadFile(Path(pid, name))
	return strings.TrimSpace(string(data))
}

// Field returns the value from the first line "name: value" in a file such as status, fdinfo
// or meminfo.
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
	Controllers []string // of version 1; "name=…" stands for a hierarchy without controllers
	Path        string   // from the root of the process's cgroup namespace
}

// Cgroups reads such a file. It leaves out lines that it does not understand.
func Cgroups(file string) ([]Cgroup, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return ParseCgroups(string(data)), nil
}

// ParseCgroups is Cgroups for text that was read already.
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

// BootID returns the kernel's random id of this boot. It changes with every boot.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}
