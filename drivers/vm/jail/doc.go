// Package jail starts a program that sees only what it needs: its own files, its own
// processes, and as few system calls as it can do with. Each hypervisor and virtiofsd
// has a jail of its own. A hostile guest that has taken one of them over finds nothing
// else there.
//
// The parent builds a Config and calls Command. The process that it starts is the
// caller's own binary again, in new namespaces. Its Main does the rest, in this order
// and on one locked thread:
//
//  1. read the Config from an inherited descriptor; make every descriptor
//     close-on-exec that the program must not have
//  2. join the cgroup that the parent has made for it, if the host has one to give
//  3. clone each source with all mounts below it, and make the clones read-only while
//     nothing can see them
//  4. put them together on a new tmpfs, cover what is masked, make the tmpfs the root
//     and detach the old one
//  5. set limits: descriptors up to the hard limit, no core dump, tasks
//  6. drop capabilities from every set
//  7. set no_new_privs
//  8. Landlock: the same paths and rights once more, by another mechanism
//  9. make the program die with the parent, and check that the parent lives
//  10. seccomp: calls that no hypervisor needs fail with EPERM
//  11. report to the parent what is in force, and exec the program
//
// A jail always has mount, process, IPC and host-name namespaces, a network namespace
// of its own unless Config.Network, no_new_privs, only the paths of its Config, and no
// core dump. If the host can't give one of these, the program is not started. A host may
// lack a user namespace for root, Landlock, seccomp or a limit on root's tasks:
// Report.Missing lists these, and with Config.Require they are an error.
// Report.NoCgroup says why there is no cgroup; that is an error only if the Config names
// one.
//
// What is not promised: a jail is no defence against a hole in the kernel's allowed
// calls. It does not limit processor time. It limits memory only by the cgroup that the
// Config names. A path is resolved when the jail starts, and symlinks in sources are
// followed: the caller says what to expose, and has to check it (drivers.Exposure).
package jail
