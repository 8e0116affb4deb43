//go:build e2e

package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"openshell-vm/internal/procfs"
)

// remains is what there is of a running VM on the host. The test looks for it when the VM is
// gone.
type remains struct {
	id         string
	named      map[string]int // the process ids that inspect tells
	processes  map[int]uint64 // these and what they started, each with the time of its start
	namespaces []string       // the mount namespaces of the jails
	listening  []string       // the sockets' inodes
}

// vm finds all of this for a running VM. That proves that gone would find it, too. It looks again
// for what is not found: the kernel's list of sockets is read in pieces, while others on the host
// open and close many.
func (w *world) vm(name string) (vm remains) {
	w.Helper()
	defer func() {
		if w.Failed() {
			w.Logf("of the VM there is found: %+v", vm)
		}
	}()
	w.eventually("all of the VM is found", patience, func() bool {
		vm = w.found(name)
		// Only root may look into jails.
		return len(vm.listening) > 0 && (os.Getuid() != 0 || len(vm.namespaces) >= len(vm.named)-1 && len(w.mounted(vm)) >= len(vm.named)-1)
	})
	return vm
}

// found looks once.
func (w *world) found(name string) remains {
	w.Helper()
	s := w.sandbox(name)
	vm := remains{id: s.ID, named: map[string]int{}}
	for _, fact := range s.Details {
		if what, ok := strings.CutPrefix(fact.Name, "pid of "); ok {
			pid, err := strconv.Atoi(fact.Value)
			w.must(err)
			vm.named[what] = pid
		}
	}
	vm.processes = family(vm.named["monitor"])
	listening := listeners()
	for pid := range vm.processes {
		if ns := mountNamespace(pid); ns != "" && ns != mountNamespace(os.Getpid()) && !slices.Contains(vm.namespaces, ns) {
			vm.namespaces = append(vm.namespaces, ns)
		}
		vm.listening = append(vm.listening, slices.DeleteFunc(sockets(pid), func(inode string) bool { return !listening[inode] })...)
	}
	for what, pid := range vm.named {
		if vm.processes[pid] == 0 {
			w.Fatalf("%s, which is process %d, is none of the monitor's: %v", what, pid, vm.processes)
		}
	}
	return vm
}

// gone waits until nothing of a VM is left. Zombies don't count.
func (w *world) gone(vm remains) {
	w.Helper()
	var left []string
	defer func() {
		if len(left) > 0 {
			w.Errorf("left behind of %s: %v", vm.id, left)
		}
	}()
	w.eventually("nothing of the VM is left", patience, func() bool {
		left = slices.Concat(running(vm), w.mounted(vm), jailed(vm.id))
		open := listeners()
		for _, inode := range vm.listening {
			if open[inode] {
				left = append(left, "a socket that listens: "+inode)
			}
		}
		return len(left) == 0
	})
}

// running returns the processes of a VM that run, and any other process with the VM in its
// arguments.
func running(vm remains) (found []string) {
	for pid, p := range hostProcesses() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty for one that has ended
		started, known := vm.processes[pid]
		if (known && started == p.Started || strings.Contains(string(cmdline), vm.id)) && !p.Ended() {
			found = append(found, fmt.Sprintf("process %d %q", pid, cmdline))
		}
	}
	return found
}

// mounted returns the processes, including this one, whose mount namespace is a jail's, or has
// something of the VM or its world mounted, or keeps such a namespace.
func (w *world) mounted(vm remains) (found []string) {
	marks := append([]string{vm.id, w.home + "/state", w.home + "/run"}, vm.namespaces...)
	for pid := range hostProcesses() {
		mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid)) // it may just end
		has := func(mark string) bool { return strings.Contains(string(mounts), mark) }
		if slices.ContainsFunc(marks, has) || slices.Contains(vm.namespaces, mountNamespace(pid)) {
			found = append(found, fmt.Sprintf("a mount that process %d sees", pid))
		}
	}
	return found
}

// jailed returns the cgroups of a sandbox in which there are processes.
func jailed(id string) (found []string) {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), id) {
			if procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs")); err == nil && len(procs) > 0 {
				found = append(found, path)
			}
		}
		return nil
	})
	return found
}

func hostProcesses() map[int]procfs.Stat {
	all := map[int]procfs.Stat{}
	for _, pid := range procfs.PIDs() {
		if stat, err := procfs.ReadStat(pid); err == nil { // it may just end
			all[pid] = stat
		}
	}
	return all
}

// family returns a process and all its descendants.
func family(root int) map[int]uint64 {
	all := hostProcesses()
	found := map[int]uint64{root: all[root].Started}
	for before := 0; before < len(found); {
		before = len(found)
		for pid, p := range all {
			if _, ok := found[p.Parent]; ok {
				found[pid] = p.Started
			}
		}
	}
	return found
}

// mountNamespace returns the name of a process's mount namespace; "" if it can't be seen.
func mountNamespace(pid int) string {
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	return name
}

// sockets returns the inodes of the sockets that a process has open.
func sockets(pid int) (inodes []string) {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		name, _ := os.Readlink(link)
		if inode, ok := strings.CutPrefix(name, "socket:["); ok {
			inodes = append(inodes, strings.TrimSuffix(inode, "]"))
		}
	}
	return inodes
}

// listeners returns the inodes of the unix sockets that accept connections.
func listeners() map[string]bool {
	const acceptsConnections = "00010000"
	found := map[string]bool{}
	table, _ := os.ReadFile("/proc/net/unix")
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) >= 7 && f[3] == acceptsConnections {
			found[f[6]] = true
		}
	}
	return found
}
