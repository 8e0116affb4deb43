package vm

import (
	"cmp"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/images/library"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/contract"
)

const (
	outputGrace  = 5 * time.Second  // for the last output, after the workload has ended
	reportMargin = 30 * time.Second // for a monitor's report, beyond the longest boot
)

// LongestStart is the time of the slowest VM: one that hung at its first boot, and reports
// progress at the second.
func (d *Driver) LongestStart() time.Duration {
	c := monitor.Config{BootDeadline: cmp.Or(d.cfg.BootDeadline, hypervisor.Emulated.Deadline)}
	return c.BootDeadline + c.LongestBoot() + 2*reportMargin
}

// guestDefaults are in the environment of every process in a guest, unless it sets them. The
// workload's environment has the contract's variables, too, and others inherit those.
var guestDefaults = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

// Start boots the VM and returns once the workload runs. If boots hang now and then with
// these Tools, it tries a boot that hung or crashed once more.
func (d *Driver) Start(ctx context.Context, id string) error {
	spec, err := d.sandbox(id).spec()
	if err != nil {
		return err
	}
	err = d.start(ctx, spec)
	d.started.Tell(id, err)
	return err
}

func (d *Driver) start(ctx context.Context, spec drivers.Spec) error {
	b := d.sandbox(spec.ID)
	lock, err := b.takeLock(ctx)
	if err != nil || lock == nil {
		return err
	}
	cfg, tools, err := d.prepare(ctx, spec)
	if err != nil {
		lock.Close()
		return err
	}
	for {
		failure, err := d.boot(ctx, cfg, lock)
		lock.Close()
		if err != nil || failure == nil {
			return err
		}
		if !failure.Hung && !failure.Crashed || !tools.Boot().Again || cfg.Attempt > 1 {
			return startError(cfg, failure)
		}
		if tools, err = d.chooseTools(ctx, &cfg); err != nil { // the cache may have been emptied meanwhile
			return err
		}
		d.cfg.Log.Warn("the boot failed, as boots do now and then on an emulated processor; it is started once more",
			"sandbox", spec.ID, "reason", failure.Problem, "console", failure.Console)
		cfg.Attempt++
		if lock, err = b.takeLock(ctx); err != nil || lock == nil {
			return err
		}
	}
}

// prepare looks at the host, which may have changed since the last start. It makes the
// monitor's configuration, and writes the boot spec for the guest.
func (d *Driver) prepare(ctx context.Context, spec drivers.Spec) (cfg monitor.Config, tools hypervisor.Tools, err error) {
	b := d.sandbox(spec.ID)
	cfg = monitor.Config{
		ID: spec.ID, Dir: b.dir, Hypervisor: spec.VM.Hypervisor,
		Machine: hypervisor.Machine{
			RunDir: b.runDir, Boot: filepath.Join(b.dir, bootDir), Auth: spec.Auth.Source(), Door: spec.Door.Source(),
			CPUs: int(spec.CPUs), Memory: spec.Memory, KVM: d.cfg.KVM,
		},
		RequireJail: d.host.RequireJail || spec.VM.RequireJail, StopGrace: outputGrace, Attempt: 1,
	}
	for i, s := range spec.Shares {
		cfg.Shares = append(cfg.Shares, hypervisor.Shared{Name: guest.ShareName(i), Tree: drivers.Tree{Source: s.Mount.Source()}})
	}
	if !spec.VM.Ephemeral {
		cfg.Upper = filepath.Join(b.dir, upperFile)
	}
	image, err := d.shareRoot(ctx, spec, &cfg)
	if err != nil {
		return cfg, nil, err
	}
	if err := shareMounts(spec, &cfg); err != nil {
		return cfg, nil, err
	}
	if err := shareWritable(spec, &cfg); err != nil {
		return cfg, nil, err
	}
	if tools, err = d.chooseTools(ctx, &cfg); err != nil {
		return cfg, nil, err
	}
	if image != nil {
		if spec.Process, err = image.Process(spec); err != nil {
			return cfg, nil, err
		}
	}
	boot := bootSpec(spec, d.hypervisors.named(spec.VM.Hypervisor).Traits())
	if image != nil {
		image.Complete(&boot)
	}
	d.connect(spec, &cfg, &boot)
	placeVM(&cfg, host.Names(), tools.Overhead())
	return cfg, tools, atomicfile.WriteJSON(filepath.Join(cfg.Boot, guest.SpecFile), boot, atomicfile.Volatile)
}

// shareRoot sets the root that the guest sees, and returns the image if it is one. The
// default root lies in the sandbox's own directory, where no root of a user may lie. It
// needs no check: all in it was made here.
func (d *Driver) shareRoot(ctx context.Context, spec drivers.Spec, cfg *monitor.Config) (image *library.Kept, err error) {
	if spec.Image != "" {
		image, cfg.Image, err = d.images.Take(ctx, spec, cfg.Dir)
		return image, err
	}
	if host.OwnRoot(spec.VM.Rootfs) {
		cfg.Rootfs = drivers.Tree{Source: filepath.Join(cfg.Dir, rootDir)}
		return nil, d.host.MakeRoot(ctx, cfg.Rootfs.Source)
	}
	cfg.Rootfs, err = host.Judge("use the root directory", spec.VM.Rootfs, spec.Hidden)
	return nil, err
}

// shareMounts sets what the guest sees of the user's directories.
func shareMounts(spec drivers.Spec, cfg *monitor.Config) error {
	trees, err := host.Mounts(spec)
	for i, tree := range trees {
		cfg.Mounts = append(cfg.Mounts, hypervisor.Shared{Name: guest.MountName(i), Tree: tree})
	}
	return err
}

// shareWritable sets what the guest may write to.
func shareWritable(spec drivers.Spec, cfg *monitor.Config) error {
	trees, err := host.Writable(spec)
	for i, tree := range trees {
		cfg.Writable = append(cfg.Writable, hypervisor.Shared{Name: guest.WritableTag(i), Tree: tree})
	}
	return err
}

// chooseTools finds the Tools for the VM, and sets them and the boot deadline in cfg.
func (d *Driver) chooseTools(ctx context.Context, cfg *monitor.Config) (hypervisor.Tools, error) {
	tools, err := d.hypervisors.find(ctx, cfg.Hypervisor)
	if err != nil {
		return nil, err
	}
	cfg.BootDeadline = cmp.Or(d.cfg.BootDeadline, tools.Boot().Deadline)
	cfg.Tools, err = json.Marshal(tools)
	return tools, err
}

// bootSpec returns the boot spec for the guest init.
func bootSpec(spec drivers.Spec, traits guest.Traits) guest.BootSpec {
	b := guest.BootSpec{
		Version: guest.Version, ID: spec.ID, Hostname: hostname(spec), Process: spec.Process, Stdin: spec.Stdin,
		Ephemeral: spec.VM.Ephemeral, AuthDir: spec.Auth.Target(), TokenUser: spec.VM.TokenUser, StopGrace: int64(outputGrace),
	}
	b.Names, b.Traits, b.DoorDir = host.Names(), &traits, spec.Door.Target()
	if spec.VM.Inotify {
		b.MirrorDir = contract.MirrorDir
	}
	b.Process.Env = drivers.WithDefaults(spec.WithContract(spec.Process.Env), guestDefaults...)
	for i, s := range spec.Shares {
		b.Shares = append(b.Shares, guest.GuestMount{Name: guest.ShareName(i), Target: s.Mount.Target()})
	}
	for i, m := range spec.Mounts {
		b.Mounts = append(b.Mounts, guest.GuestMount{Name: guest.MountName(i), Target: m.Target()})
	}
	for i, w := range spec.Writable {
		b.Mounts = append(b.Mounts, guest.GuestMount{Name: guest.WritableTag(i), Target: w.Target(), Writable: true})
	}
	return b
}

// hostname makes a host name of the sandbox's name: a host name has no underscore.
func hostname(spec drivers.Spec) string {
	if spec.Name == "" {
		return spec.ID
	}
	return strings.ReplaceAll(spec.Name, "_", "-")
}
