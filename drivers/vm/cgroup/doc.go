// Package cgroup bounds what processes take of the host's memory and how many
// they may become, by the kernel's control groups.
//
// Here says where this process may make groups; Place.Group names one, Make
// makes it with its limits, Enter moves a process in, OutOfMemory says whether
// the kernel killed for its limit, and Remove removes it once it is empty.
//
// Memory and tasks are counted in one hierarchy (version 2) or in one each
// (version 1, hybrid). Both are used as they are found; nothing is mounted,
// and no process but the caller's own is moved:
//
//   - Version 1: below this process's own group, where it may make one. That is
//     root's, as a rule.
//   - Version 2: a group with processes in it can't limit its children, so a new
//     one lies beside this process's own, below the nearest group above that
//     hands the memory controller on and belongs to this user. That is
//     system.slice for a service of root's, and app.slice for a unit of the
//     user's systemd, which hands on memory and pids. No unit is asked for at
//     systemd: a group must be had where no bus answers, too, and systemd leaves
//     those alone that it does not know. A group that has limits is not left.
//
// A user's shell outside his systemd, and most containers, have no such place:
// Place says why.
//
// github.com/opencontainers/cgroups does this and much more (it is in go.mod for
// Podman's bindings). It brings systemd's bus, eBPF and a logger into the monitor
// and the jail, which run beside hostile code and are read for that; what is
// needed of it is six files of one number each.
package cgroup
