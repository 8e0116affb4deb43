package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Files of a group.
const (
	procsFile = "cgroup.procs"
	handsFile = "cgroup.subtree_control"
)

// Group is one group, by its directory in the hierarchy where memory is counted
// and in that where tasks are: the same in version 2, "" for one that can't be
// had. The zero Group can be made, entered and removed, and limits nothing.
type Group struct {
	Memory string `json:"memory,omitempty"`
	Tasks  string `json:"tasks,omitempty"`
}

// Limits bound a group with all that is in it; 0 is no limit.
type Limits struct {
	Memory int64 // bytes, what the kernel keeps for its processes included
	Swap   int64 // bytes of it that may be swapped out; with a limit on Memory only, and 0 is none then
	Tasks  uint64
	// Together has the kernel end all of the group where it would end one process
	// for want of memory. Version 1 can't.
	Together bool
}

// Below is a group in g. In version 2 either g or what is in it may have processes.
func (g Group) Below(name string) Group {
	return Place{Memory: g.Memory, Tasks: g.Tasks}.Group(name)
}

// Part is a group in g whose tasks are counted apart; its memory is counted with
// all of g's.
func (g Group) Part(name string) Group {
	switch g.Tasks {
	case "":
		return g
	case g.Memory:
		return Group{Tasks: filepath.Join(g.Tasks, name)}
	}
	return Group{Memory: g.Memory, Tasks: filepath.Join(g.Tasks, name)}
}

// Dirs are the group's directories.
func (g Group) Dirs() (dirs []string) {
	if g.Memory != "" {
		dirs = append(dirs, g.Memory)
	}
	if g.Tasks != "" && g.Tasks != g.Memory {
		dirs = append(dirs, g.Tasks)
	}
	return dirs
}

// Make makes the group, or takes it as it is found, and sets its limits. What it
// lies in exists.
func (g Group) Make(l Limits) error {
	if err := g.hand(); err != nil {
		return err
	}
	for _, dir := range g.Dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if g.Tasks != "" && l.Tasks > 0 {
		if err := set(g.Tasks, "pids.max", strconv.FormatUint(l.Tasks, 10)); err != nil {
			return err
		}
	}
	if g.Memory == "" || l.Memory == 0 {
		return nil
	}
	return limitMemory(g.Memory, l)
}

// hand has the groups above hand the controllers on that g needs, in version 2.
func (g Group) hand() error {
	for _, c := range []struct{ dir, controller string }{{g.Memory, memory}, {g.Tasks, tasks}} {
		parent := filepath.Dir(c.dir)
		if c.dir == "" || !isV2(parent) || hands(parent, c.controller) {
			continue
		}
		if err := set(parent, handsFile, "+"+c.controller); err != nil {
			return err
		}
	}
	return nil
}

func limitMemory(dir string, l Limits) error {
	if isV2(dir) {
		err := errors.Join(set(dir, "memory.max", decimal(l.Memory)), optional(set(dir, "memory.swap.max", decimal(l.Swap))))
		if err == nil && l.Together {
			err = optional(set(dir, "memory.oom.group", "1"))
		}
		return err
	}
	// The limit on both together can't be lower than that on memory: it is set last.
	return errors.Join(
		set(dir, "memory.limit_in_bytes", decimal(l.Memory)),
		optional(set(dir, "memory.memsw.limit_in_bytes", decimal(l.Memory+l.Swap))))
}

// optional forgives that a kernel has no such file: one without swap, or an old one.
func optional(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func set(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// Enter moves this process into the group.
func (g Group) Enter() error {
	for _, dir := range g.Dirs() {
		if err := set(dir, procsFile, "0"); err != nil {
			return fmt.Errorf("enter the cgroup: %w", err)
		}
	}
	return nil
}

// OutOfMemory says whether the kernel has killed a process of the group for want
// of memory, and whether it was the group's own limit that left none, and not the
// host, or a group further up. Version 1 can't tell a limit that was reached from
// one that was only touched.
func (g Group) OutOfMemory() (killed, byLimit bool) {
	if g.Memory == "" {
		return false, false
	}
	if isV2(g.Memory) {
		events := counters(g.Memory, "memory.events")
		return events["oom_kill"] > 0, events["oom"] > 0
	}
	for _, what := range []string{"memory", "memory.memsw"} {
		limit := number(g.Memory, what+".limit_in_bytes")
		byLimit = byLimit || limit > 0 && number(g.Memory, what+".max_usage_in_bytes")+nearLimit >= limit
	}
	return counters(g.Memory, "memory.oom_control")["oom_kill"] > 0, byLimit
}

// nearLimit is less than what a process asks for at once, in bytes. The count of
// failures is no help: newer kernels leave it at 0.
const nearLimit = 64 << 10

func number(dir, file string) uint64 {
	data, _ := os.ReadFile(filepath.Join(dir, file))
	n, _ := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	return n
}

// counters reads a file of lines with a name and a number.
func counters(dir, file string) map[string]uint64 {
	all := map[string]uint64{}
	data, _ := os.ReadFile(filepath.Join(dir, file))
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 {
			all[f[0]], _ = strconv.ParseUint(f[1], 10, 64)
		}
	}
	return all
}

// removeTime is how long the kernel may count a dead process.
const removeTime = time.Second

// Remove removes the group and all groups in it. One with a process in it stays,
// and is the error; one that is gone is none.
func (g Group) Remove() error {
	var errs []error
	for _, dir := range g.Dirs() {
		errs = append(errs, remove(dir, time.Now().Add(removeTime)))
	}
	return errors.Join(errs...)
}

func remove(dir string, deadline time.Time) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := remove(filepath.Join(dir, e.Name()), deadline); err != nil {
				return err
			}
		}
	}
	err = os.Remove(dir)
	for err != nil && !errors.Is(err, fs.ErrNotExist) && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
		err = os.Remove(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
