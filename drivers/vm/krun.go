package vm

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
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/krunvm"
	"openshell-vm/drivers/vm/monitor"
)

// What to do when there is no usable libkrun.
const (
	installKrun = "install libkrun " + krunvm.MinVersion + " or a later 1.x, and libkrunfw, or name them by " +
		LibkrunEnv + " and " + LibkrunfwEnv
	pinKrun = "use --hypervisor qemu, or keep a libkrun 1.x (from " + krunvm.MinVersion + " on) beside it and name it by " +
		LibkrunEnv + ", and its libkrunfw by " + LibkrunfwEnv + "; and tell us, so that openshell-vm learns the newer one"
)

// krunWorks says why the krun hypervisor can't be used; nil if it can. KVM comes
// first: what is known of it is remembered, a libkrun that is missing is not.
func (d *Driver) krunWorks(ctx context.Context) error {
	if r := d.kvmWorks(ctx, hypervisorKrun); !r.Usable {
		return &drivers.Error{Op: "use KVM", Err: errors.New(r.Reason), Hint: r.Hint}
	}
	_, err := d.krunTools(ctx)
	return err
}

// krunTools finds all that a VM of the krun hypervisor is made of.
func (d *Driver) krunTools(ctx context.Context) (monitor.Krun, error) {
	found, err := d.krunTool(ctx)
	if err != nil {
		return monitor.Krun{}, err
	}
	init := d.libexec(initProgram)
	if _, err := os.Stat(init); err != nil {
		return monitor.Krun{}, &drivers.Error{Op: "prepare the guest", Err: err, Hint: "see that openshell-init is installed beside openshell-vmm"}
	}
	return monitor.Krun{Binary: found.Program, Library: found.krun.Library, Firmware: found.krun.Firmware, Init: init}, nil
}

// krunTool is openshell-krun with the libraries that it loads by name. It is
// the only program that can tell which those are.
func (d *Driver) krunTool(ctx context.Context) (tool, error) {
	path := d.libexec(krunProgram)
	if _, err := os.Stat(path); err != nil {
		return tool{}, fmt.Errorf("%s is not installed beside %s", krunProgram, monitorProgram)
	}
	return d.tools.find(path, func(t *tool) (err error) {
		if t.krun, err = d.probeKrun(ctx, path); err != nil {
			return err
		}
		t.Files, err = jail.Program(ctx, path, t.krun.Library, t.krun.Firmware)
		return err
	})
}

// probeKrun asks openshell-krun what it finds.
func (d *Driver) probeKrun(ctx context.Context, path string) (krunvm.Found, error) {
	var found krunvm.Found
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	args := []string{krunvm.ProbeCommand}
	if d.cfg.Libkrun != "" || d.cfg.Libkrunfw != "" {
		args = append(args, d.cfg.Libkrun, d.cfg.Libkrunfw)
	}
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if err == nil {
		err = json.Unmarshal(out, &found)
	}
	if err != nil {
		return found, fmt.Errorf("ask %s about libkrun: %w", krunProgram, err)
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
