// Command openshell-init is process 1 of a VM, under any hypervisor. It mounts what the
// host exposes, builds the root, and runs the workload as its child. Over two
// virtio-console ports it connects the monitor to the workload's streams, reports the
// exit code, and runs further commands (exec). It also watches the share for new
// generations, so that a guest that caches names sees a renewal in well under a second.
//
// The init has a mount namespace and a /dev of its own, apart from the workload's.
// Nothing that a workload mounts, unmounts or replaces changes what the init sees. The
// workload's /dev has no nodes of the two ports. The init keeps both open, and a port
// can be opened only once, so a root workload can't open them by a node of its own
// either.
//
// What is not promised: a workload that runs as the guest's root owns the guest. It can
// mount the shares device again (read-only, the host enforces that) and read the boot
// spec, load code into the kernel, trace the init, or power the VM off. The boundary is
// the VM, not the init.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/cmd/openshell-init/copying"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/fault"
)

// The main goroutine keeps the main thread. So any other thread can end, and free the
// namespace that only it is in.
func init() { runtime.LockOSThread() }

func main() {
	log.SetFlags(0)
	log.SetPrefix("openshell-init: ")
	if os.Args[0] == copying.Name {
		os.Exit(copying.Main(os.Args))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "openshell-init: it is process 1 of a VM and can't be run by hand")
		os.Exit(125)
	}
	reap := ignoreSignals()
	exit, err := boot(reap)
	if err != nil {
		logf("%v", err)
		exit = outcome{code: 125}
	}
	powerOff(exit)
}

// boot brings the VM up, runs the workload to its end, and takes the sandbox down. After
// an error the host has been told, if the ports work.
func boot(sigchld <-chan os.Signal) (outcome, error) {
	if err := mountEarly(); err != nil {
		return outcome{}, err
	}
	loadModules(guest.ModulesDir)
	setLimits()
	h, err := connect(portDeadline)
	if err != nil {
		return outcome{}, err
	}
	procs := newProcs(sigchld)
	exit, err := bringUp(h, procs)
	if err != nil {
		h.fail(err)
	}
	return exit, err
}

func bringUp(h *host, procs *procs) (outcome, error) {
	where, err := findShares()
	if err != nil {
		return outcome{}, err
	}
	spec, err := readSpec(where.shares)
	if err != nil {
		return outcome{}, err
	}
	where = where.with(spec.Traits)
	greeted := time.Now()
	if err := h.send(guest.Message{Hello: &guest.Hello{Version: guest.Version, Kernel: kernelRelease()}}); err != nil {
		return outcome{}, err
	}
	if err := where.mountRoot(spec); err != nil {
		return outcome{}, err
	}
	r, err := makeRoot(where, spec, h.progress)
	if err != nil {
		return outcome{}, err
	}
	s := newSupervisor(h, procs, r, spec)
	h.message = s.message
	h.serve()
	go r.door.Serve()
	start, ok := s.awaitStart()
	if !ok {
		exit := outcome{code: 128 + int(unix.SIGTERM), reason: "stopped before it was started", where: where}
		s.takeDown(exit, time.Duration(spec.StopGrace))
		return exit, nil
	}
	setClock(startTime(start.UnixNano, time.Since(greeted)))
	if err := startWatch(context.Background(), where, spec, h); err != nil {
		return outcome{}, err
	}
	exit := s.runWorkload()
	exit.where = where
	s.takeDown(exit, time.Duration(spec.StopGrace))
	return exit, nil
}

// outcome is how the workload ended.
type outcome struct {
	code   int
	reason string
	where  layout
}

// progress tells the host how far a long boot is. If that fails the boot goes on: the
// host has deadlines of its own.
func (h *host) progress(p guest.Progress) { _ = h.send(guest.Message{Progress: &p}) }

// fail tells the host why the boot can't go on. The power goes off next. Nothing says
// when the host has read the message, so fail waits for failedPause.
func (h *host) fail(err error) {
	h.send(guest.Message{Failed: &guest.Failed{Reason: err.Error(), Hint: fault.HintOf(err)}})
	flush(h.control, failedPause)
	time.Sleep(failedPause)
}

const failedPause = 200 * time.Millisecond

func logf(format string, args ...any) { log.Printf(format, args...) }

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
