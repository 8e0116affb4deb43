// Package krun runs the vm driver's conformance suite on a real libkrun.
//
//	make e2e-krun LIBKRUN=/path/to/libkrun.so.1 LIBKRUNFW=/path/to/libkrunfw.so.5
//
// Where KVM runs guests the suite runs on this machine. Elsewhere each part of it
// runs inside an outer machine, which QEMU emulates with AMD-V, so that KVM
// works there: its root is this machine's, read-only by virtio-fs, so it has the
// same programs and libraries. It boots in some seconds, a VM in it too. The
// parts are the conformance suite, freshness, deaths of a VM's processes, what
// such a process has in its jail, a root of more files than may be open at once,
// two of these as an ordinary user, a libkrun newer than known, and a boot that hangs.
//
// KRUN_RUN=PART or PART/CASE runs only that. KRUN_UNWATCHED=N measures N publishes
// without the guest's watch, of which each takes some seconds, instead of 20.
//
// Without LIBKRUN a contract library takes libkrun's place: all that leads up
// to krun_start_enter runs for real (driver, monitor, jail, openshell-krun), no
// VM does. The last lines say what was covered. E2E_REQUIRE_KRUN=1 makes less
// than all a failure.
package krun
