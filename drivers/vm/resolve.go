package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"openshell-vm/drivers"
)

// How long a guest may still see the generation before the current one, with a
// margin over what was measured (at most 64 ms under qemu, 5 s under krun).
const (
	stalenessQEMU = time.Second
	stalenessKrun = 6 * time.Second
)

// The hypervisors, as users name them.
const (
	hypervisorAuto = "auto"
	hypervisorKrun = "krun"
	hypervisorQEMU = "qemu"
)

// Resolve refuses what cannot work here and fills in hypervisor, command, CPUs
// and memory.
func (d *Driver) Resolve(ctx context.Context, spec drivers.Spec) (drivers.Spec, time.Duration, error) {
	if spec.Image != "" {
		return spec, 0, &drivers.Error{
			Op:   "use the image " + spec.Image,
			Err:  errors.New("the vm driver runs directories, not images"),
			Hint: "use --rootfs DIR, or --driver podman or docker",
		}
	}
	var err error
	if spec.Hypervisor, err = d.chooseHypervisor(ctx, spec.Hypervisor); err != nil {
		return spec, 0, err
	}
	if err := d.checkJail(spec.RequireJail); err != nil {
		return spec, 0, err
	}
	if spec.CPUs, err = d.host.checkCPUs(spec.CPUs); err != nil {
		return spec, 0, err
	}
	if spec.Memory, err = d.host.checkMemory(spec.Memory); err != nil {
		return spec, 0, err
	}
	switch {
	case !spec.Ephemeral:
		if spec.Disk, err = checkDisk(spec.Disk, d.cfg.SandboxesDir); err != nil {
			return spec, 0, err
		}
	case spec.Disk != 0:
		return spec, 0, &drivers.Error{
			Op: "give the VM a disk", Err: errors.New("an ephemeral sandbox writes into its memory"), Hint: "leave out --disk or --ephemeral",
		}
	}
	if ownRoot(spec.Rootfs) {
		spec.Rootfs = ""
		if _, err := d.busyBox(ctx); err != nil {
			return spec, 0, err
		}
	} else if err := d.checkRootfs(ctx, spec.Rootfs, spec.Hidden); err != nil {
		return spec, 0, err
	}
	if err := checkMounts(spec); err != nil {
		return spec, 0, err
	}
	if len(spec.Process.Args) == 0 {
		spec.Process.Args = []string{"/bin/sh"}
	}
	return spec, staleness(spec.Hypervisor), nil
}

func staleness(hypervisor string) time.Duration {
	if hypervisor == hypervisorKrun {
		return stalenessKrun
	}
	return stalenessQEMU
}

// chooseHypervisor takes krun where it works, else qemu, and refuses one that
// was asked for and does not work.
func (d *Driver) chooseHypervisor(ctx context.Context, wanted string) (string, error) {
	switch wanted {
	case "", hypervisorAuto:
		if d.krunWorks(ctx) == nil {
			return hypervisorKrun, nil
		}
		_, err := d.qemuTools(ctx)
		return hypervisorQEMU, err
	case hypervisorKrun:
		if err := d.krunWorks(ctx); err != nil {
			return "", &drivers.Error{Op: "use the krun hypervisor", Err: err, Hint: cmp.Or(drivers.HintOf(err), "use --hypervisor qemu")}
		}
		return hypervisorKrun, nil
	case hypervisorQEMU:
		_, err := d.qemuTools(ctx)
		return hypervisorQEMU, err
	}
	return "", &drivers.Error{
		Op:   "choose a hypervisor",
		Err:  fmt.Errorf("there is none called %q", wanted),
		Hint: "use auto, krun or qemu",
	}
}
