package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/distribution/reference"

	"openshell-vm/drivers"
)

// Staleness is how long a container may still see the previous generation. A bind
// mount shows a change within 10 ms. The rest is for a loaded host.
const Staleness = time.Second

// minMemory is the least that Docker takes, and that a container under Podman starts
// with. minCPUs is the least that the kernel's scheduler can give.
const (
	minMemory = 6 << 20
	minCPUs   = 0.01
)

// Resolve leaves the spec as it is.
func (d *Driver) Resolve(ctx context.Context, spec drivers.Spec) (drivers.Spec, time.Duration, error) {
	if err := d.suits(spec); err != nil {
		return spec, 0, err
	}
	host, err := d.engine.Host(ctx)
	if err != nil {
		return spec, 0, d.engine.Explain("ask "+d.Name()+" about its host", err)
	}
	if spec.CPUs > float64(host.CPUs) || spec.CPUs > 0 && spec.CPUs < minCPUs {
		return spec, 0, refuse(fmt.Errorf("%g CPUs are wanted; the range is from %g to %d, as the host has %d",
			spec.CPUs, minCPUs, host.CPUs, host.CPUs),
			"give --cpus in that range, such as 0.5")
	}
	if host.Memory > 0 && spec.Memory > host.Memory {
		return spec, 0, refuse(fmt.Errorf("%d MiB of memory are wanted, the host has %d", spec.Memory>>20, host.Memory>>20),
			"give a smaller --memory")
	}
	if _, err := planOf(spec, host); err != nil {
		return spec, 0, err
	}
	return spec, Staleness, nil
}

// suits refuses what no container can be.
func (d *Driver) suits(spec drivers.Spec) error {
	if err := d.refuseVM(spec.VM); err != nil {
		return err
	}
	if err := d.refuseNotYet(spec); err != nil {
		return err
	}
	switch {
	case spec.Image == "":
		hint := "give --image REF"
		if args := spec.Process.Args; len(args) > 0 && args[0] != "" {
			hint = fmt.Sprintf("the image has a flag of its own here: --image REF COMMAND; if %s is the image: --image %s",
				args[0], strings.Join(args, " "))
		}
		return refuse(drivers.ErrNoImage, hint)
	case spec.CPUs < 0:
		return refuse(fmt.Errorf("%g CPUs are less than none", spec.CPUs), "give a positive --cpus")
	case spec.Memory < 0 || spec.Memory > 0 && spec.Memory < minMemory:
		return refuse(fmt.Errorf("a memory limit of %s is too small: the minimum is 6m", size(spec.Memory)), "give --memory 6m or more")
	}
	if _, err := reference.ParseAnyReference(spec.Image); err != nil {
		return refuse(fmt.Errorf("image %q: %w", spec.Image, err), "give an image as NAME[:TAG], such as debian:12")
	}
	return nil
}

// refuseNotYet refuses what these drivers can't do yet.
func (d *Driver) refuseNotYet(spec drivers.Spec) error {
	switch {
	case spec.Network != "" && spec.Network != drivers.NetworkUser && spec.Network != drivers.NetworkNone:
		return refuse(fmt.Errorf("there is no network %q", spec.Network), "give user, which is the engine's own, or none")
	case len(spec.Ports) > 0 && spec.Network == drivers.NetworkNone:
		return refuse(errors.New("with the network none no port can be published"), "leave out --network none or --publish")
	}
	return nil
}

// refuseVM refuses what only a VM has, one that has no line of its own here too.
func (d *Driver) refuseVM(vm drivers.VM) error {
	switch {
	case vm.IsZero():
		return nil
	case vm.Rootfs != "":
		return refuse(fmt.Errorf("%s runs images, not a rootfs", d.Name()), "give --image, or take --driver vm")
	case vm.Hypervisor != "":
		return refuse(fmt.Errorf("%s has no hypervisor %q", d.Name(), vm.Hypervisor), "take --driver vm with --hypervisor")
	case vm.TokenUser != "":
		return refuse(fmt.Errorf("%s can't give the share to user %q", d.Name(), vm.TokenUser), "leave out --token-user")
	case vm.RequireJail:
		return refuse(fmt.Errorf("%s confines a container as it does, not in a jail of ours", d.Name()),
			"take --driver vm for --require-jail")
	case vm.Disk != 0:
		return refuse(fmt.Errorf("%s does not bound what one container writes", d.Name()), "leave out --disk, or take --driver vm")
	case len(vm.AllowHost) > 0, len(vm.AllowEgress) > 0:
		return refuse(fmt.Errorf("the network of a container is %s's, not ours, so it can't be restricted here", d.Name()),
			"take --driver vm")
	case vm.Inotify:
		return refuse(fmt.Errorf("%s shows the share itself, which tells programs of each change (inotify) as it is", d.Name()),
			"leave out --inotify")
	case vm.Ephemeral:
		return refuse(fmt.Errorf("%s keeps what a sandbox changed until it is removed", d.Name()), "take --rm for --ephemeral")
	}
	return refuse(fmt.Errorf("%s has no virtual machine, of which an option is given", d.Name()), "take --driver vm")
}

// size is a number of bytes as it would be given: 4b, 512k, 4m.
func size(bytes int64) string {
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}} {
		if bytes >= unit.bytes && bytes%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", bytes/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%db", bytes)
}

func refuse(err error, hint string) error { return &drivers.Error{Err: err, Hint: hint} }
