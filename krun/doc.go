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
// *os.File (nil where C takes -1), MAC addresses are arrays, numbers and masks
// with names are types of their own, NULL-terminated vectors are slices and are
// terminated here; an empty slice is an empty vector and never NULL, because for
// libkrun a NULL environment means the caller's own. Strings that C wants in a
// format (port maps, limits) are structs. One thing has another number here: the
// zero DiskSync is the one that loses nothing, and C's is not.
//
// Not bound, with the reason, is what Ignored lists: displays, input devices,
// trusted execution, vhost-user and what upstream has withdrawn.
//
// # Errors
//
// Every error is an *Error. It wraps the syscall.Errno that libkrun returned, or
// one of ErrUnsupported (the loaded library lacks the symbol; Error.Since says
// which version has it first), ErrNewer (it is of a later major version, or lacks
// the symbol because it is; Error.Until says which version dropped it), ErrInvalid
// (refused here), ErrClosed, ErrNoLibrary and ErrProtocol (a return value that the
// C API does not define).
//
// ErrInvalid stands for what libkrun does not answer with an error but with a
// panic, a hang or a truncated value, or by ignoring it: strings with NUL bytes,
// tags over 36 bytes, vectors over 4,095 entries, names, ports and paths used
// twice, command lines that the guest kernel would cut, quotes and unprintable
// characters on it, share roots that are missing, relative or symlinks, sockets
// that are not there, numbers too large for their C type, more devices than
// interrupt lines, consoles without ports, memory that does not hold the guest's
// kernel, and a start that would leave the guest's environment, its ports or the
// host's network to libkrun's choice.
//
// # Ownership
//
// A Context owns its C context until Close or StartEnter; nothing frees one that
// is only dropped. It owns copies of all that C keeps by pointer (C copies
// strings itself), and duplicates of the descriptors of files that it was given:
// the caller may close its own when the method has returned. Close gives both
// back. After StartEnter they are libkrun's. A Library is never unloaded.
//
// # Threads
//
// All methods may be called concurrently; those of one Context are serialized,
// and after StartEnter wait for ever, as it holds its thread. libkrun starts
// threads of its own there, which have the credentials, namespaces and filters of
// the thread that calls StartEnter. Set these up before the process starts, by an
// exec, or on a thread that the caller has locked (runtime.LockOSThread).
//
// # Versions
//
// libkrun has no version call, so capability is found symbol by symbol
// (Library.Has). Library.Version is derived from the newest symbol present. A
// library whose build left out a feature (disks, network) lacks symbols that its
// version has; HasFeature tells, from 1.17.3 on. What is newer than 1.19 is not
// bound: upstream's next functions and those of forks differ under one name.
//
// libkrun 2.0 drops functions, and others may change under their old names. Open
// refuses a library that calls itself libkrun.so.2 or later, with ErrNewer. One
// that has dropped functions under the old name is loaded, and Library.Require
// tells what it lacks.
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
// Without cgo, and on systems other than Linux and macOS, the package compiles
// with the same API, and Open fails with ErrNoLibrary. It is tested on Linux.
package krun
