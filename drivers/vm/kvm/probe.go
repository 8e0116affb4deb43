package kvm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// Device is what a user of KVM opens.
const Device = "/dev/kvm"

// deadline is for the child. The probe takes milliseconds where it works.
const deadline = 2 * time.Second

// Result says whether KVM runs guests here for this user.
type Result struct {
	Usable bool   `json:"usable"`
	Reason string `json:"reason,omitempty"` // one line, when it does not
	Hint   string `json:"hint,omitempty"`   // what to do about it
	// passing says that the reason may be gone in a while.
	passing bool
}

// Hints for what users can change.
const (
	hintAbsent  = "enable virtualization in the firmware, and load the module kvm_intel or kvm_amd"
	hintGroup   = "add the user to the group that owns /dev/kvm (usually kvm) and log in again"
	hintVirtual = "if this machine is itself virtual, its host must offer nested virtualization"
)

// Prober asks and remembers.
type Prober struct {
	// Self is a binary that calls Main for the argument "probe-kvm".
	Self string
	// Cache is the file that remembers results; "" for none. Its directory
	// exists. It holds results of several users and hypervisors, and is not
	// trusted for more than speed: it belongs to the user.
	Cache string
	// Hypervisor names who will use KVM: what is remembered for one is not
	// taken for the other.
	Hypervisor string
}

// Probe gives what is remembered, or runs the guest instructions; that takes
// up to three seconds where KVM hangs. What the device's existence and
// permissions alone decide is looked at each time. A cache that cannot be read or
// written only costs time.
func (p Prober) Probe(ctx context.Context) Result {
	if r, ok := openable(Device); !ok {
		return r
	}
	key, err := identify(Device, p.Hypervisor)
	if err != nil {
		return Result{Reason: err.Error()}
	}
	if r, ok := recall(p.Cache, key, time.Now()); ok {
		return r
	}
	r := runChild(ctx, deadline, p.Self, "probe-kvm")
	if ctx.Err() == nil {
		remember(p.Cache, key, r, time.Now())
	}
	return r
}

// openable says what can be told without running anything.
func openable(device string) (Result, bool) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		unix.Close(fd)
		return Result{}, true
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return Result{Reason: device + " does not exist", Hint: hintAbsent}, false
	case errors.Is(err, fs.ErrPermission):
		return Result{Reason: fmt.Sprintf("%s may not be opened by user %d", device, os.Geteuid()), Hint: hintGroup}, false
	}
	return Result{Reason: fmt.Sprintf("open %s: %v", device, err), Hint: hintAbsent}, false
}

// runChild runs the probe as a process of its own, since the kernel may not
// come back from it.
func runChild(ctx context.Context, limit time.Duration, program string, args ...string) Result {
	var out, errs bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		return Result{Reason: fmt.Sprintf("start the KVM probe: %v", err), passing: true}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-ended:
		return childResult(out.Bytes(), errs.Bytes(), err)
	case <-timer.C:
		cmd.Process.Kill()
		awaitDeath(ended)
		return Result{Reason: fmt.Sprintf("KVM hangs in a guest's first instructions (no result in %v)", limit), Hint: hintVirtual, passing: true}
	case <-ctx.Done():
		cmd.Process.Kill()
		awaitDeath(ended)
		return Result{Reason: ctx.Err().Error(), passing: true}
	}
}

// awaitDeath gives a killed child a moment. One that the kernel does not let go
// of is left behind.
func awaitDeath(ended <-chan error) {
	select {
	case <-ended:
	case <-time.After(500 * time.Millisecond):
	}
}

func childResult(out, errs []byte, err error) Result {
	if err != nil {
		line, _, _ := bytes.Cut(bytes.TrimSpace(errs), []byte("\n"))
		return Result{Reason: fmt.Sprintf("the KVM probe ended with %v: %s", err, line), Hint: hintVirtual, passing: true}
	}
	var r Result
	if err := json.Unmarshal(out, &r); err != nil {
		return Result{Reason: fmt.Sprintf("the KVM probe's answer is not understood: %v", err), passing: true}
	}
	return r
}

// Main is what a binary runs for the argument "probe-kvm": it tries KVM, writes
// the Result and ends the process.
func Main() {
	// If the parent dies meanwhile nobody else ends this.
	time.AfterFunc(2*deadline, func() { os.Exit(1) })
	r := Result{Usable: true}
	if err := try(Device); err != nil {
		r = Result{Reason: err.Error(), Hint: hintVirtual}
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}
