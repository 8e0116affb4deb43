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
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Device is KVM's device node.
const Device = "/dev/kvm"

// limits bound the child's life. begin is for its start, which takes seconds on a busy
// host. run is for the rest, which takes milliseconds if KVM works.
type limits struct{ begin, run time.Duration }

var usual = limits{begin: 20 * time.Second, run: 2 * time.Second}

// Result says whether KVM runs guests here for this user.
type Result struct {
	Usable bool   `json:"usable"`
	Reason string `json:"reason,omitempty"` // one line, if it does not
	Hint   string `json:"hint,omitempty"`   // what to do about it

	passing bool // the reason may be gone in a while
}

// Hints for what users can change.
const (
	hintAbsent  = "enable virtualization in the firmware, and load the module kvm_intel or kvm_amd"
	hintGroup   = "add the user to the group that owns /dev/kvm (usually kvm) and log in again"
	hintVirtual = "if this machine is itself virtual, its host must offer nested virtualization"
)

// Prober finds out whether KVM works, and remembers it.
type Prober struct {
	// Self is a binary that calls Main for the argument "probe-kvm".
	Self string
	// Cache is the file that remembers results; "" for none. Its directory exists. It
	// holds results for several users and hypervisors. It only saves time: the user owns
	// it, so nothing else may rely on it.
	Cache string
	// Hypervisor names the user of KVM: each has its own results.
	Hypervisor string
}

// Probe returns the remembered result, or runs the guest instructions. If KVM hangs, that
// takes up to three seconds once the child has begun. Probe checks each time whether the
// device exists and may be opened. A cache that can't be read or written only costs time.
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
	r := runChild(ctx, usual, p.Self, "probe-kvm")
	if ctx.Err() == nil {
		remember(p.Cache, key, r, time.Now())
	}
	return r
}

// openable returns true if the device can be opened, else the Result.
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

// runChild runs the probe in a process of its own, since the kernel may never return from
// it.
func runChild(ctx context.Context, limit limits, program string, args ...string) Result {
	out, errs := output{begun: make(chan struct{})}, bytes.Buffer{}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		return Result{Reason: fmt.Sprintf("start the KVM probe: %v", err), passing: true}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timer := time.NewTimer(limit.begin)
	defer timer.Stop()
	var r Result
	for begun := out.begun; ; {
		select {
		case err := <-ended:
			return childResult(out.data.Bytes(), errs.Bytes(), err)
		case <-begun:
			begun = nil
			timer.Reset(limit.run)
			continue
		case <-timer.C:
			r = Result{Reason: fmt.Sprintf("KVM hangs in a guest's first instructions (no result in %v)", limit.run),
				Hint: hintVirtual, passing: true}
			if begun != nil {
				r = Result{Reason: fmt.Sprintf("the KVM probe did not begin within %v: this host is too busy to tell", limit.begin),
					passing: true}
			}
		case <-ctx.Done():
			r = Result{Reason: ctx.Err().Error(), passing: true}
		}
		cmd.Process.Kill()
		awaitDeath(ended)
		return r
	}
}

// output keeps what the child writes, and closes begun at the first byte.
type output struct {
	data  bytes.Buffer
	once  sync.Once
	begun chan struct{}
}

func (o *output) Write(data []byte) (int, error) {
	o.once.Do(func() { close(o.begun) })
	return o.data.Write(data)
}

// awaitDeath waits a moment for a killed child. It leaves behind a child that hangs in
// the kernel.
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

// Main is what a binary runs for the argument "probe-kvm". It writes an empty line to say
// that it has begun, tries KVM, writes the Result and ends the process.
func Main() {
	// If the parent dies, nobody else ends this process.
	time.AfterFunc(2*usual.run, func() { os.Exit(1) })
	fmt.Println()
	r := Result{Usable: true}
	if err := try(Device); err != nil {
		r = Result{Reason: err.Error(), Hint: hintVirtual}
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}
