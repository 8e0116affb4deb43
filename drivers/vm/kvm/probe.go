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

// Device is what a user of KVM opens.
const Device = "/dev/kvm"

// limits bound the child's life: until it begins, which takes a busy host seconds,
// and from then on, which takes milliseconds where KVM works.
type limits struct{ begin, run time.Duration }

var usual = limits{begin: 20 * time.Second, run: 2 * time.Second}

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
// up to three seconds where KVM hangs, once the program has begun. What the device's existence and
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
	r := runChild(ctx, usual, p.Self, "probe-kvm")
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
				r = Result{Reason: fmt.Sprintf("the KVM probe did not begin within %v: this host is too busy to tell", limit.begin), passing: true}
			}
		case <-ctx.Done():
			r = Result{Reason: ctx.Err().Error(), passing: true}
		}
		cmd.Process.Kill()
		awaitDeath(ended)
		return r
	}
}

// output keeps what the child says. Its first word means that it has begun.
type output struct {
	data  bytes.Buffer
	once  sync.Once
	begun chan struct{}
}

func (o *output) Write(data []byte) (int, error) {
	o.once.Do(func() { close(o.begun) })
	return o.data.Write(data)
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

// Main is what a binary runs for the argument "probe-kvm": it says that it has
// begun by an empty line, tries KVM, writes the Result and ends the process.
func Main() {
	// If the parent dies meanwhile nobody else ends this.
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
