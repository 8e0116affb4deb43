package vm

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/monitor"
)

// Probe says which hypervisor and accelerator a VM would get, why, and how to
// get the better one.
func (d *Driver) Probe(ctx context.Context) drivers.Info {
	krun := d.krunWorks(ctx)
	tools, err := d.qemuTools(ctx)
	info := drivers.Info{Usable: krun == nil || err == nil}
	fact := func(name, format string, args ...any) {
		info.Details = append(info.Details, drivers.Fact{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	switch {
	case krun == nil:
		fact("hypervisor", "krun, since KVM and libkrun work here")
	case err == nil:
		fact("hypervisor", "qemu, since krun can't be used: %v", krun)
	default:
		info.Problem, info.Hint = err.Error(), drivers.HintOf(err)
		fact("krun", "can't be used: %v", krun)
	}
	if err != nil {
		return info
	}
	info.Version = d.qemuFacts(ctx, tools, fact)
	return info
}

func (d *Driver) qemuFacts(ctx context.Context, tools monitor.QEMU, fact func(name, format string, args ...any)) (version string) {
	accel, why := d.accelerator(ctx)
	fact("accelerator", "%s: %s", accel, why)
	if better := betterAccel(string(accel)); better != "" {
		fact("to be faster", "%s", better)
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

// betterAccel says what to do on a machine that translates every instruction.
func betterAccel(accel string) string {
	if accel == "kvm" {
		return ""
	}
	if runtime.GOARCH == "amd64" {
		return "switch virtualization (VT-x, AMD-V, or nesting in a VM) on, and let this user open /dev/kvm (group kvm)"
	}
	return "run on hardware with virtualization, and let this user open /dev/kvm (group kvm)"
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
