// Package krun binds the C API of libkrun 1.x, up to 1.19, which turns the
// calling process into a virtual machine.
//
// # From C to Go
//
// Open loads the library at run time. So a program that uses this package starts on a
// machine without libkrun, and gets an ordinary error. Each C function is one Go method:
// on Context if it is about a VM, on Console if it is about a console's port, else on
// Library. The name is the C name without krun_ and get_, in Go's spelling:
// krun_add_virtiofs3 is Context.AddVirtioFS3. Only NewContext (krun_create_ctx), Close
// (krun_free_ctx), AddTTY and AddInOut (krun_add_console_port_…) have other names.
//
// Several arguments of C are one struct where that reads better. Pairs of pointer and
// length are slices, descriptors are *os.File (nil where C takes -1), MAC addresses are
// arrays, and numbers and masks with names are types of their own. NULL-terminated
// vectors are slices; an empty one is an empty vector and never NULL, because for libkrun
// a NULL environment means the caller's own. Strings that C wants in a format (port maps,
// limits) are structs. One number differs: the zero DiskSync loses nothing, and C's does.
//
// Ignored lists what is not bound, with reasons: displays, input devices, trusted
// execution, vhost-user and what upstream has withdrawn.
//
// # Errors
//
// Every error is an *Error. It wraps the syscall.Errno that libkrun returned, or one of
// these: ErrUnsupported (the library lacks the symbol; Error.Since says which version has
// it first), ErrNewer (the library is of a later major version, or lacks the symbol for
// that reason; Error.Until says which version dropped it), ErrInvalid (refused here),
// ErrClosed, ErrNoLibrary, or ErrProtocol (a return value that the C API does not define).
//
// ErrInvalid is for what libkrun does not answer with an error, but with a panic, a hang,
// a truncated value or silence: strings with NUL bytes, tags over 36 bytes, vectors over
// 4,095 entries, names, ports and paths used twice, kernel command lines that the guest
// would cut, quotes and unprintable characters on them, share roots that are missing,
// relative or symlinks, missing sockets, numbers too large for their C type, more devices
// than interrupt lines, consoles without ports, too little memory for the guest's kernel,
// and a start that would leave the guest's environment, its ports or the host's network
// to libkrun's choice.
//
// # Ownership
//
// A Context owns its C context until Close or StartEnter; a dropped Context leaks it. It
// owns copies of all that C keeps by pointer (C copies strings itself), and duplicates of
// the files' descriptors: the caller may close its own when the method has returned. Close
// frees both. After StartEnter they are libkrun's. A Library is never unloaded.
//
// # Threads
//
// All methods may be called concurrently. Those of one Context wait for each other, and
// after StartEnter they wait for ever. libkrun starts threads in StartEnter; they have the
// credentials, namespaces and filters of the thread that called it. Set these up before
// the process starts, by an exec, or on a thread locked by runtime.LockOSThread.
//
// # Versions
//
// libkrun has no version call, so each symbol is looked up (Library.Has), and the newest
// one gives Library.Version. A library that was built without a feature (disks, network)
// lacks symbols of its version; HasFeature tells, from 1.17.3 on. Functions newer than
// 1.19 are not bound: upstream and forks use the same names for different ones.
//
// libkrun 2.0 drops functions, and may change others under their old names. Open refuses
// a library that calls itself libkrun.so.2 or later, with ErrNewer. It loads a library
// that has dropped functions under the old name; Library.Require tells what that lacks.
//
// # What is not promised
//
// libkrun's virtio-fs server runs in this process and does not confine a hostile guest to
// the shared directory. Whoever starts the process has to see to it that it can reach only
// what the guest may see. libkrun never raises RLIMIT_NOFILE, and with too few descriptors
// lists directories short without an error: raise it first. Paths are checked when a
// method is called, not when the guest mounts them.
//
// Without cgo, and on systems other than Linux and macOS, the package compiles
// with the same API, and Open fails with ErrNoLibrary. It is tested on Linux.
package krun
