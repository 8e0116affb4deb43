package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/procfs"
)

// Files of a group.
const (
	procsFile = "cgroup.procs"
	handsFile = "cgroup.subtree_control"
)

// Group is one group: its directory in the hierarchy that counts memory, and in the one
// that counts tasks. In version 2 both are the same. "" means that the host has none to
// give. The zero Group can be made, entered and removed, and limits nothing.
type Group struct {
	Memory string `json:"memory,omitempty"`
	Tasks  string `json:"tasks,omitempty"`
}

// Limits limit a group with all groups in it; 0 means no limit.
type Limits struct {
	Memory int64 // bytes, including what the kernel keeps for the processes
	Swap   int64 // bytes that may be swapped out; used only with a limit on Memory, and 0 means none
	Tasks  uint64
	// Together makes the kernel kill the whole group, where it would kill one process for
	// want of memory. Version 1 can't do that.
	Together bool
}

// Below returns a group in g. In version 2 only one of them may have processes of its own.
func (g Group) Below(name string) Group {
	return Place{Memory: g.Memory, Tasks: g.Tasks}.Group(name)
}

// Part returns a group in g whose tasks are counted apart. Its memory is counted with the
// rest of g's.
func (g Group) Part(name string) Group {
	switch g.Tasks {
	case "":
		return g
	case g.Memory:
		return Group{Tasks: filepath.Join(g.Tasks, name)}
	}
	return Group{Memory: g.Memory, Tasks: filepath.Join(g.Tasks, name)}
}

// Dirs returns the group's directories.
func (g Group) Dirs() (dirs []string) {
	if g.Memory != "" {
		dirs = append(dirs, g.Memory)
	}
	if g.Tasks != "" && g.Tasks != g.Memory {
		dirs = append(dirs, g.Tasks)
	}
	return dirs
}

// Make makes the group, if it does not exist, and sets its limits. The group above must
// exist.
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

// hand makes the group above hand on the controllers that g needs, in version 2.
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
	// The limit on memory and swap together can't be lower than that on memory, so it is
	// set last.
	return errors.Join(
		set(dir, "memory.limit_in_bytes", decimal(l.Memory)),
		optional(set(dir, "memory.memsw.limit_in_bytes", decimal(l.Memory+l.Swap))))
}

// optional ignores that a kernel has no such file: one without swap, or an old one.
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

// OutOfMemory reports whether the kernel has killed a process of the group for want of
// memory, and whether that was for the group's own limit, rather than the host's memory or
// a group further up. In version 1 byLimit is also true if the limit was only reached once
// without a kill.
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

// nearLimit is less than what a process asks for at once, in bytes. The kernel's count of
// failures does not help: newer kernels leave it at 0.
const nearLimit = 64 << 10

// Used is the memory that the group's processes use, in bytes, without what the kernel only
// caches for them. ok is false if nobody counts it.
func (g Group) Used() (bytes int64, ok bool) {
	if g.Memory == "" {
		return 0, false
	}
	used, cached := number(g.Memory, "memory.current"), counters(g.Memory, "memory.stat")["inactive_file"]
	if used == 0 { // version 1
		used, cached = number(g.Memory, "memory.usage_in_bytes"), counters(g.Memory, "memory.stat")["total_inactive_file"]
	}
	return int64(used - min(used, cached)), used > 0
}

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

// removeTime is how long the kernel may count a process that is dead.
const removeTime = time.Second

// Remove removes the group and all groups in it. It fails if one has a process in it. A
// missing group is no error.
func (g Group) Remove() error {
	var errs []error
	for _, dir := range g.Dirs() {
		errs = append(errs, remove(dir, time.Now().Add(removeTime)))
	}
	return errors.Join(errs...)
}

// Kill sends SIGKILL to every process in the group and in those below it. It does not wait for their
// ends, as Remove does.
func (g Group) Kill() {
	for _, dir := range g.Dirs() {
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				for _, pid := range members(path) {
					procfs.Kill(pid, func() bool { return slices.Contains(members(path), pid) })
				}
			}
			return nil // one that is just removed has nobody
		})
	}
}

// members are the processes in the group dir, without those in groups below it.
func members(dir string) (pids []int) {
	text, _ := os.ReadFile(filepath.Join(dir, procsFile))
	for _, word := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 0 { // 0: one of another process namespace
			pids = append(pids, pid)
		}
	}
	return pids
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
