package vm

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/qemu"
)

// Probe says which hypervisor and accelerator a VM would get, why, and how to
// get the better one; and what of the jail this host can't give.
func (d *Driver) Probe(ctx context.Context) drivers.Info {
	var info drivers.Info
	fact := func(name, format string, args ...any) {
		info.Details = append(info.Details, drivers.Fact{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	krun := d.krunWorks(ctx)
	tools, err := d.qemuTools(ctx)
	switch {
	case krun == nil:
		fact("hypervisor", "krun, since KVM and libkrun work here")
		if t, err := d.krunTool(ctx); err == nil {
			fact("libkrun", "%s (%s or later), guest kernel %s", t.krun.Library, t.krun.Version, t.krun.Firmware)
		}
	case err == nil:
		fact("hypervisor", "qemu, since krun can't be used: %v", krun)
		if hint := drivers.HintOf(krun); hint != "" && d.kvmWorks(ctx, hypervisorKrun).Usable {
			fact("to use krun", "%s", hint)
		}
	default:
		info.Problem, info.Hint = err.Error(), drivers.HintOf(err)
		fact("krun", "can't be used: %v", krun)
	}
	if err == nil {
		info.Version = d.qemuFacts(ctx, tools, fact)
	}
	if err := d.jailFacts(fact); err != nil && info.Problem == "" {
		info.Problem, info.Hint = err.Error(), drivers.HintOf(err)
	}
	info.Usable = info.Problem == ""
	return info
}

// fewDescriptors is less than large source trees have files.
const fewDescriptors = 64 << 10

// jailFacts tries a jail anew, and refuses what Resolve will.
func (d *Driver) jailFacts(fact func(name, format string, args ...any)) error {
	report, err := d.tryJail()
	switch {
	case err != nil:
		fact("jail", "can't be made: %v", err)
	case len(report.Missing) > 0:
		fact("jail", "%s", report.Verdict())
	case d.host.uid == 0:
		fact("jail", "complete (Landlock %d); root's file servers keep CAP_DAC_READ_SEARCH and CAP_FOWNER, to serve the files of all users", report.LandlockABI)
	default:
		fact("jail", "complete (Landlock %d)", report.LandlockABI)
	}
	if err == nil && report.NoFile < fewDescriptors {
		fact("open files", "at most %d of the host's in use by a guest; a higher hard limit (ulimit -Hn) allows more", report.NoFile)
	}
	limit := limitFact()
	fact(limit.Name, "%s", limit.Value)
	return d.checkJail(false)
}

func (d *Driver) qemuFacts(ctx context.Context, tools monitor.QEMU, fact func(name, format string, args ...any)) (version string) {
	accel, why := d.accelerator(ctx)
	fact("accelerator", "%s: %s", accel, why)
	if hint := d.kvmWorks(ctx, hypervisorQEMU).Hint; accel == qemu.TCG && hint != "" {
		fact("to be faster", "%s", hint)
	}
	version = programVersion(ctx, tools.Binary.Path)
	fact("qemu", "%s (%s)", tools.Binary.Path, version)
	if v, err := d.virtiofsd(ctx); err == nil {
		fact("virtiofsd", "%s (%s %s)", v.Path, v.flavor, v.version)
	}
	if kernel, err := d.kernel(); err == nil {
		fact("guest kernel", "%s (%s)", kernel.Image, kernel.Release)
	}
	return version
}

// programVersion is the first line that a program says of its version.
func programVersion(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "its version can't be told: " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
