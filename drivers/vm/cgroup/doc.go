// Package cgroup limits the host's memory and the number of tasks that processes take, by
// the kernel's control groups.
//
// Here finds where this process may make groups, and Place.Group names one there. Make
// makes it with its limits, Enter moves this process in, OutOfMemory tells whether the
// kernel killed in it, and Remove removes it.
//
// Memory and tasks are counted in one hierarchy (version 2) or in one each (version 1,
// hybrid). This package mounts nothing and moves no process but its own:
//
//   - Version 1: a new group lies below this process's own group, if the process may make
//     one there. Usually only root may.
//   - Version 2: a group with processes in it can't limit its children. So a new group
//     lies beside this process's own: in the nearest group above that hands the
//     controller on and belongs to this user. That is system.slice for a service of root,
//     and app.slice for a unit of the user's systemd; both hand on memory and pids.
//     Nothing asks systemd for a unit: it has to work without a bus, too, and systemd
//     leaves unknown groups alone. A group that has limits itself is never left.
//
// A user's shell outside of systemd, and most containers, have no such place: Place says
// why.
//
// github.com/opencontainers/cgroups does this and much more (it is in go.mod for Podman's
// bindings). It would bring systemd's bus, eBPF and a logger into the monitor and the
// jail. These run beside hostile code, and people audit them. Of that package they would
// need six files with one number each.
package cgroup
