package container

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/distribution/reference"

	"openshell-vm/drivers"
)

// Staleness is how long a container may still see the generation before: a
// bind mount shows a change within 10 ms, and the rest is for a loaded host.
const Staleness = time.Second

// minMemory is the least that Docker takes, and that a container starts with
// under Podman; minCPUs is the least that the kernel's scheduler can give.
const (
	minMemory = 6 << 20
	minCPUs   = 0.01
)

// Resolve leaves the spec as it is, but for the hypervisor: there is none.
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
	spec.Hypervisor = ""
	return spec, Staleness, nil
}

// suits refuses what no container can be.
func (d *Driver) suits(spec drivers.Spec) error {
	switch {
	case spec.Rootfs != "":
		return refuse(fmt.Errorf("%s runs images, not a rootfs", d.Name()), "give --image, or take --driver vm")
	case spec.Image == "":
		hint := "give --image REF"
		if args := spec.Process.Args; len(args) > 0 && args[0] != "" {
			hint = fmt.Sprintf("the image has a flag of its own here: --image REF COMMAND; if %s is the image: --image %s",
				args[0], strings.Join(args, " "))
		}
		return refuse(drivers.ErrNoImage, hint)
	case spec.Hypervisor != "" && spec.Hypervisor != "auto":
		return refuse(fmt.Errorf("%s has no hypervisor %q", d.Name(), spec.Hypervisor), "take --driver vm with --hypervisor")
	case spec.TokenUser != "":
		return refuse(fmt.Errorf("%s can't give the share to user %q", d.Name(), spec.TokenUser), "leave out --token-user")
	case spec.RequireJail:
		return refuse(fmt.Errorf("%s confines a container as it does, not in a jail of ours", d.Name()), "take --driver vm for --require-jail")
	case spec.Disk != 0:
		return refuse(fmt.Errorf("%s does not bound what one container writes", d.Name()), "leave out --disk, or take --driver vm")
	case spec.Ephemeral:
		return refuse(fmt.Errorf("%s keeps what a sandbox changed until it is removed", d.Name()), "take --rm for --ephemeral")
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
