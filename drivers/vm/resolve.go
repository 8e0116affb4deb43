package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
)

// auto is the word for the first hypervisor that works.
const auto = "auto"

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
	chosen, err := d.chooseHypervisor(ctx, spec.Hypervisor)
	if err != nil {
		return spec, 0, err
	}
	spec.Hypervisor = chosen.Name()
	if err := d.host.CheckJail(spec.RequireJail); err != nil {
		return spec, 0, err
	}
	if spec.CPUs, err = d.host.CheckCPUs(spec.CPUs); err != nil {
		return spec, 0, err
	}
	if spec.Memory, err = d.host.CheckMemory(spec.Memory); err != nil {
		return spec, 0, err
	}
	switch {
	case !spec.Ephemeral:
		if spec.Disk, err = host.CheckDisk(spec.Disk, d.cfg.SandboxesDir); err != nil {
			return spec, 0, err
		}
	case spec.Disk != 0:
		return spec, 0, &drivers.Error{
			Op: "give the VM a disk", Err: errors.New("an ephemeral sandbox writes into its memory"), Hint: "leave out --disk or --ephemeral",
		}
	}
	if host.OwnRoot(spec.Rootfs) {
		spec.Rootfs = ""
		if err := d.host.CheckUserland(ctx); err != nil {
			return spec, 0, err
		}
	} else if err := d.host.CheckRootfs(ctx, spec.Rootfs, spec.Hidden); err != nil {
		return spec, 0, err
	}
	if err := host.CheckMounts(spec); err != nil {
		return spec, 0, err
	}
	if len(spec.Process.Args) == 0 {
		spec.Process.Args = []string{"/bin/sh"}
	}
	return spec, chosen.Staleness(), nil
}

// chooseHypervisor takes the first that works, and refuses one that was asked for
// and does not.
func (d *Driver) chooseHypervisor(ctx context.Context, wanted string) (chosen hypervisor.Hypervisor, err error) {
	if wanted == "" || wanted == auto {
		for _, h := range d.cfg.Hypervisors {
			if err = h.Works(ctx, d.host); err == nil {
				return h, nil
			}
		}
		return nil, err
	}
	h := d.hypervisor(wanted)
	if h == nil {
		names := []string{auto}
		for _, h := range d.cfg.Hypervisors {
			names = append(names, h.Name())
		}
		return nil, &drivers.Error{
			Op: "choose a hypervisor", Err: fmt.Errorf("there is none called %q", wanted), Hint: "use one of " + strings.Join(names, ", "),
		}
	}
	if err := h.Works(ctx, d.host); err != nil {
		return nil, &drivers.Error{Op: "use the " + wanted + " hypervisor", Err: err, Hint: cmp.Or(drivers.HintOf(err), "use --hypervisor "+auto)}
	}
	return h, nil
}
