// Package krun binds the C API of libkrun 1.x, up to 1.19, which turns the
// calling process into a virtual machine.
//
// # From C to Go
//
// The library is loaded at run time (Open), so a program that uses this package
// starts on a machine without it and gets an ordinary error. Each C function is
// one Go method: those about a VM on Context, the others on Library. The name is
// the C name without krun_, in Go's spelling: krun_add_virtiofs3 is
// Context.AddVirtioFS3. Arguments that C gives as several are one struct where
// that reads better. Pairs of pointer and length are slices, descriptors are
// *os.File (nil where C takes -1), MAC addresses are arrays, NULL-terminated
// vectors are slices and are terminated here; an empty slice is an empty vector
// and never NULL, because for libkrun a NULL environment means the caller's own.
//
// Not bound, with the reason, is what Ignored lists: displays, input devices,
// trusted execution, vhost-user and what upstream has withdrawn.
//
// # Errors
//
// Every error is an *Error. It wraps the syscall.Errno that libkrun returned, or
// one of ErrUnsupported (the loaded library lacks the symbol; Error.Since says
// which version has it first), ErrInvalid (refused here), ErrClosed, ErrNoLibrary
// and ErrProtocol (a return value that the C API does not define).
//
// ErrInvalid stands for what libkrun does not answer with an error but with a
// panic, a hang or a truncated value: strings with NUL bytes, tags over 36
// bytes or used twice, vectors over 4,095 entries, command lines that the guest
// kernel would cut, quotes and unprintable characters on it, share roots that
// are missing, relative or symlinks, numbers too large for their C type, more
// devices than interrupt lines, and a start that would leave the guest's ports
// or the host's network exposed by default.
//
// # Ownership
//
// A Context owns its C context until Close or StartEnter, and its own copies of
// all that C keeps by pointer. It keeps the *os.File values that it was given
// reachable, so that no finalizer closes them; the caller must not close them
// before the VM has ended. A Library is never unloaded.
//
// # Threads
//
// All methods may be called concurrently; those of one Context are serialized.
// StartEnter holds its thread for ever. libkrun starts threads of its own there,
// which have the credentials, namespaces and filters of the thread that calls
// StartEnter: set these up before the process starts, by an exec.
//
// # Versions
//
// libkrun has no version call, so capability is found symbol by symbol
// (Library.Has). Library.Version is derived from the newest symbol present. A
// library whose build left out a feature (disks, network) lacks symbols that its
// version has; HasFeature tells, from 1.17.3 on.
//
// # What is not promised
//
// libkrun's virtio-fs server runs in this process and does not confine a hostile
// guest to the shared directory. The process must see nothing that the guest
// must not: that is the work of whoever starts it. libkrun never raises
// RLIMIT_NOFILE, and with too few descriptors lists directories short without an
// error: raise it first. Checks of paths are made when a method is called, not
// when the guest mounts them.
//
// On platforms without cgo the package compiles with the same API, and Open
// fails with ErrNoLibrary.
package krun
