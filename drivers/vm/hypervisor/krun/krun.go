// Package krun is the krun hypervisor. Its VM is one process, openshell-krun, which
// becomes the VM by libkrun and has the file server in it, too. It needs KVM and a
// libkrun that can share a directory read-only.
//
// Package krunvm says how to call openshell-krun.
package krun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/hypervisor/krun/krunvm"
	"openshell-vm/drivers/vm/jail"
)

// Name is the word for users.
const Name = "krun"

// Program is the name of openshell-krun. It lies beside our other programs.
const Program = "openshell-krun"

// Environment variables that FromEnvironment reads.
const (
	LibraryEnv  = "OPENSHELL_LIBKRUN"   // Options.Library
	FirmwareEnv = "OPENSHELL_LIBKRUNFW" // Options.Firmware
)

// Hints if there is no usable libkrun.
const (
	installKrun = "install libkrun " + krunvm.MinVersion + " or a later 1.x, and libkrunfw, or name them by " +
		LibraryEnv + " and " + FirmwareEnv
	pinKrun = "use --hypervisor qemu, or keep a libkrun 1.x (from " + krunvm.MinVersion + " on) beside it and name it by " +
		LibraryEnv + ", and its libkrunfw by " + FirmwareEnv + "; and tell us, so that openshell-vm learns the newer one"
)

// Options are what a user may choose. An empty one is searched for.
type Options struct {
	Library  string // libkrun.so.1
	Firmware string // libkrunfw.so.5
}

// Hypervisor implements hypervisor.Hypervisor.
type Hypervisor struct {
	Options
	programs host.Cache[program]
}

var _ hypervisor.Hypervisor = (*Hypervisor)(nil)

// program is openshell-krun with what it found of libkrun.
type program struct {
	host.Program
	found krunvm.Found
}

// New makes a Hypervisor. It does not look at the host yet.
func New(o Options) *Hypervisor { return &Hypervisor{Options: o} }

// FromEnvironment takes the options from environment variables, by getenv.
func FromEnvironment(getenv func(string) string) (hypervisor.Hypervisor, error) {
	return New(Options{Library: getenv(LibraryEnv), Firmware: getenv(FirmwareEnv)}), nil
}

// Name is the word that users type.
func (*Hypervisor) Name() string { return Name }

// Staleness is 6 s: with libkrun's file server the guest caches names for 5 s.
func (*Hypervisor) Staleness() time.Duration { return 6 * time.Second }

// Writes is false for now: all directories are on one device, which is read-only as a whole.
func (*Hypervisor) Writes() bool { return false }

// exitRequest is libkrun's ioctl on the root directory that sets its process's exit code.
const exitRequest = 0x7602

// Traits say that names are cached (see Staleness), that the disk has a serial number
// that libkrun makes up, and that the machine can't power off.
func (*Hypervisor) Traits() guest.Traits {
	return guest.Traits{CachesNames: true, LoneDisk: true, ExitRequest: exitRequest, EndsByRestart: true}
}

// MTU is Ethernet's: without a feature that few libkruns have, a guest's buffers take no
// larger packets.
func (*Hypervisor) MTU() int { return 1500 }

// Works asks for KVM first: that answer is remembered, while a missing libkrun is not.
func (k *Hypervisor) Works(ctx context.Context, h *host.Host) error {
	if err := h.NeedKVM(ctx, Name); err != nil {
		return err
	}
	_, err := k.Find(ctx, h)
	return err
}

// Account names the libraries.
func (k *Hypervisor) Account(ctx context.Context, h *host.Host) hypervisor.Account {
	a := hypervisor.Account{Why: "KVM and libkrun work here"}
	if p, err := k.program(ctx, h); err == nil {
		text := fmt.Sprintf("%s (%s or later), guest kernel %s", p.found.Library, p.found.Version, p.found.Firmware)
		a.Facts = []drivers.Fact{{Name: "libkrun", Value: text}}
	}
	return a
}

// Find finds openshell-krun with its libraries, and the guest init.
func (k *Hypervisor) Find(ctx context.Context, h *host.Host) (hypervisor.Tools, error) {
	p, err := k.program(ctx, h)
	if err != nil {
		return nil, err
	}
	init, err := h.Init()
	if err != nil {
		return nil, err
	}
	return &Tools{Binary: p.Program, Library: p.found.Library, Firmware: p.found.Firmware, Init: init}, nil
}

// program finds openshell-krun and the libraries that it loads by name. Only
// openshell-krun itself can tell which these are.
func (k *Hypervisor) program(ctx context.Context, h *host.Host) (program, error) {
	path := h.Program(Program)
	if _, err := os.Stat(path); err != nil {
		return program{}, fmt.Errorf("%s is not installed beside %s", Program, host.MonitorProgram)
	}
	return k.programs.Find(path, func() (p program, err error) {
		p.Path = path
		if p.found, err = k.probe(ctx, path); err != nil {
			return p, err
		}
		p.Files, err = jail.Program(ctx, path, p.found.Library, p.found.Firmware)
		return p, err
	})
}

// probe asks openshell-krun what it finds.
func (k *Hypervisor) probe(ctx context.Context, path string) (krunvm.Found, error) {
	var found krunvm.Found
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	args := []string{krunvm.ProbeCommand}
	if k.Library != "" || k.Firmware != "" {
		args = append(args, k.Library, k.Firmware)
	}
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if err == nil {
		err = json.Unmarshal(out, &found)
	}
	if err != nil {
		return found, fmt.Errorf("ask %s about libkrun: %w", Program, err)
	}
	if found.Problem != "" {
		hint := installKrun
		if found.Newer {
			hint = pinKrun
		}
		return found, &drivers.Error{Op: "use libkrun", Err: errors.New(strings.TrimSpace(found.Problem)), Hint: hint}
	}
	return found, nil
}
