package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
)

// Resolve refuses what can't work here. It fills in hypervisor, command, CPUs, memory and
// disk.
func (d *Driver) Resolve(ctx context.Context, spec drivers.Spec) (drivers.Spec, time.Duration, error) {
	if err := refuseImage(spec); err != nil {
		return spec, 0, err
	}
	chosen, err := d.hypervisors.choose(ctx, spec.VM.Hypervisor, len(spec.Writable) > 0)
	if err != nil {
		return spec, 0, err
	}
	spec.VM.Hypervisor = chosen.Name()
	if err := d.host.CheckJail(spec.VM.RequireJail); err != nil {
		return spec, 0, err
	}
	if spec.CPUs, err = d.host.CheckCPUs(spec.CPUs); err != nil {
		return spec, 0, err
	}
	if spec.Memory, err = d.host.CheckMemory(spec.Memory); err != nil {
		return spec, 0, err
	}
	switch {
	case !spec.VM.Ephemeral:
		if spec.VM.Disk, err = host.CheckDisk(spec.VM.Disk, d.cfg.SandboxesDir); err != nil {
			return spec, 0, err
		}
	case spec.VM.Disk != 0:
		return spec, 0, &drivers.Error{
			Op: "give the VM a disk", Err: errors.New("an ephemeral sandbox writes into its memory"),
			Hint: "leave out --disk or --ephemeral",
		}
	}
	if spec.Image != "" {
		spec.VM.Rootfs = ""
		if err := d.images.Check(ctx, spec); err != nil {
			return spec, 0, err
		}
	} else if host.OwnRoot(spec.VM.Rootfs) {
		spec.VM.Rootfs = ""
		if err := d.host.CheckUserland(ctx); err != nil {
			return spec, 0, err
		}
	} else if err := d.host.CheckRootfs(ctx, spec.VM.Rootfs, spec.Hidden); err != nil {
		return spec, 0, err
	}
	if _, err := host.Mounts(spec); err != nil {
		return spec, 0, err
	}
	if err := checkWritable(spec, chosen); err != nil {
		return spec, 0, err
	}
	if spec, err = d.resolveNetwork(spec); err != nil {
		return spec, 0, err
	}
	if len(spec.Process.Args) == 0 && spec.Image == "" {
		spec.Process.Args = []string{"/bin/sh"}
	}
	return spec, chosen.Staleness(), nil
}

// refuseImage refuses an option that makes no sense with, or without, an image.
func refuseImage(spec drivers.Spec) error {
	switch {
	case spec.Image != "" && !host.OwnRoot(spec.VM.Rootfs):
		return &drivers.Error{Op: "make a VM", Err: errors.New("both a rootfs and an image are given"),
			Hint: "use one of --rootfs and --image"}
	case spec.Image == "" && spec.Entrypoint != "":
		return &drivers.Error{Op: "replace the entry point by " + spec.Entrypoint,
			Err:  errors.New("a directory has none, only an image has"),
			Hint: "put the program before its arguments, or use --image"}
	}
	return nil
}

// maxWritable is how many directories a VM may write to. Each one takes a device, and a
// process of the host's.
const maxWritable = 16

// checkWritable refuses what the sandbox can't write to.
func checkWritable(spec drivers.Spec, h hypervisor.Hypervisor) error {
	if len(spec.Writable) == 0 {
		return nil
	}
	op := "mount " + cmp.Or(spec.Writable[0].Volume(), spec.Writable[0].Source()) + " to be written to"
	if !h.Writes() {
		return &drivers.Error{Op: op, Err: fmt.Errorf("a VM of %s sees directories read-only: its file server is the hypervisor itself, "+
			"which could then write whatever it can read", h.Name()), Hint: "use --hypervisor qemu, or --driver podman or docker"}
	}
	if n := len(spec.Writable); n > maxWritable {
		return &drivers.Error{Op: op, Err: fmt.Errorf("%d directories to write to are more than the %d that a VM may have", n, maxWritable),
			Hint: "mount a directory that contains several of them"}
	}
	_, err := host.Writable(spec)
	return err
}
