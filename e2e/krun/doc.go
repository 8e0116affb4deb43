// Package krun runs the vm driver's conformance suite on a real libkrun.
//
//	make e2e-krun LIBKRUN=/path/to/libkrun.so.1 LIBKRUNFW=/path/to/libkrunfw.so.5
//
// If KVM runs guests on this machine, the suite runs here. Else each part of it runs inside an
// outer machine, which QEMU emulates with AMD-V, so that KVM works there. The outer machine has
// this machine's root, read-only by virtio-fs, and so the same programs and libraries. It boots in
// some seconds, and so does a VM in it. The parts are the conformance suite, freshness, deaths of a
// VM's processes, what such a process has in its jail, a root of more files than may be open at
// once, two of these as an ordinary user, a libkrun newer than known, and a boot that hangs.
//
// KRUN_RUN=PART or PART/CASE runs only that. KRUN_UNWATCHED=N measures N publishes without the
// guest's watch instead of 20; each takes some seconds.
//
// Without LIBKRUN a contract library takes libkrun's place. Then all that leads up to
// krun_start_enter runs for real (driver, monitor, jail, openshell-krun), but no VM runs. The last
// lines say what was covered. With E2E_REQUIRE_KRUN=1 it is a failure if not all was covered.
package krun
