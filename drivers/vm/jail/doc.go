// Package jail starts a program that sees only what it needs: its own files,
// its own processes, and as few of the kernel's calls as it can do with. The
// hypervisors and virtiofsd run in one each, since a hostile guest that has
// taken one of them over must find nothing else there.
//
// The parent builds a Config and calls Command; the process that it starts is
// the caller's own binary again, in new namespaces, and its Main applies the
// rest in this order on one locked thread:
//
//  1. read the Config from an inherited descriptor; mark every descriptor that
//     the program is not to have close-on-exec
//  2. join the cgroup that the parent has made for it, where one can be had
//  3. clone each source with all that is mounted below it, and make the clones
//     read-only while nothing can see them
//  4. put them together on a new tmpfs, cover what is masked, make it
//     the root and detach the old one
//  5. set limits: descriptors up to the hard limit, no core dump, tasks
//  6. drop capabilities from every set
//  7. set no_new_privs
//  8. Landlock: the same paths and rights once more, by another mechanism
//  9. have the program die with the parent, and see that the parent lives
//  10. seccomp: calls that no hypervisor needs fail with EPERM
//  11. report to the parent what is in force, and exec the program
//
// A jail has always: mount, process, IPC and host-name namespaces, a network
// namespace of its own unless Config.Network, no_new_privs, no path but those
// of its Config, no core dump. If one of these cannot be had the program is not
// started. What a host may lack (a user namespace for root, Landlock, seccomp, a
// limit on root's tasks) is listed in Report.Missing; with Config.Require it is
// an error. Why there is no cgroup is in Report.NoCgroup, and no error but where the
// Config names one.
//
// What is not promised: a jail is no defence against a hole in the kernel's
// allowed calls. It does not limit processor time, and memory only by the cgroup
// that the Config names. A path is resolved
// when the jail starts, and symlinks in sources are followed: the caller says
// what to expose and has checked it (drivers.Exposure).
package jail
