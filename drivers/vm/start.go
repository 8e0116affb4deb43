package vm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/internal/atomicfile"
)

const (
	outputGrace  = 5 * time.Second // for the last output after the workload ended
	reportMargin = 30 * time.Second
)

// LongestStart is for the slowest VM: one that hung at its first try, and tells of
// progress at the second.
func (d *Driver) LongestStart() time.Duration {
	c := monitor.Config{BootDeadline: cmp.Or(d.cfg.BootDeadline, hypervisor.Emulated.Deadline)}
	return c.BootDeadline + c.LongestBoot() + 2*reportMargin
}

// guestDefaults are in the environment of every process in a guest, unless set.
var guestDefaults = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	drivers.ContractEnv()...)

// Start boots the VM and returns once the workload runs. Where boots are known
// to hang now and then, one that did is tried once more.
func (d *Driver) Start(ctx context.Context, id string) error {
	spec, err := d.spec(id)
	if err != nil {
		return err
	}
	err = d.start(ctx, spec)
	d.started.Tell(id, err)
	return err
}

func (d *Driver) start(ctx context.Context, spec drivers.Spec) error {
	lock, err := d.takeLock(ctx, spec.ID)
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
		if lock, err = d.takeLock(ctx, spec.ID); err != nil || lock == nil {
			return err
		}
	}
}

// takeLock takes the monitor's lock for a new one. A sandbox that runs needs
// none: then there is no lock and no error. One that is on its way up or down
// is waited for.
func (d *Driver) takeLock(ctx context.Context, id string) (*os.File, error) {
	for {
		lock, err := monitor.Lock(d.dir(id))
		if !errors.Is(err, monitor.ErrAlive) {
			return lock, err
		}
		if r, err := d.ask(ctx, id, api.Request{Status: &struct{}{}}); err == nil && r.State == drivers.Running {
			return nil, nil
		}
		wait, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		err = waitGone(wait, d.dir(id))
		cancel()
		if ctx.Err() != nil || err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// prepare looks at the host anew, since it may have changed since the last
// start, and writes what the guest and the monitor are to read.
func (d *Driver) prepare(ctx context.Context, spec drivers.Spec) (cfg monitor.Config, tools hypervisor.Tools, err error) {
	dir := d.dir(spec.ID)
	cfg = monitor.Config{
		ID: spec.ID, Dir: dir, Hypervisor: spec.VM.Hypervisor,
		Machine: hypervisor.Machine{
			RunDir: d.runDir(spec.ID), Boot: filepath.Join(dir, bootDir), Auth: spec.Auth.Source(),
			CPUs: int(spec.CPUs), Memory: spec.Memory, KVM: d.cfg.KVM,
		},
		RequireJail: d.host.RequireJail || spec.VM.RequireJail, StopGrace: outputGrace, Attempt: 1,
	}
	if !spec.VM.Ephemeral {
		cfg.Upper = filepath.Join(dir, upperFile)
	}
	if err := d.shareRoot(ctx, spec, &cfg); err != nil {
		return cfg, nil, err
	}
	if err := shareMounts(spec, &cfg); err != nil {
		return cfg, nil, err
	}
	if tools, err = d.chooseTools(ctx, &cfg); err != nil {
		return cfg, nil, err
	}
	placeVM(&cfg, host.Names(), tools.Overhead())
	boot := bootSpec(spec, d.hypervisor(spec.VM.Hypervisor).Traits())
	return cfg, tools, atomicfile.WriteJSON(filepath.Join(cfg.Boot, guest.SpecFile), boot, atomicfile.Volatile)
}

// shareRoot says what root the guest is to see. Its own lies with the sandbox's
// files, where nobody else's root may: it holds nothing but what was made here.
func (d *Driver) shareRoot(ctx context.Context, spec drivers.Spec, cfg *monitor.Config) error {
	if host.OwnRoot(spec.VM.Rootfs) {
		cfg.Rootfs = host.Tree{Source: filepath.Join(cfg.Dir, rootDir)}
		return d.host.MakeRoot(ctx, cfg.Rootfs.Source)
	}
	var err error
	cfg.Rootfs, err = host.Judge("use the root directory", spec.VM.Rootfs, spec.Hidden)
	return err
}

// shareMounts says what the guest is to see of the user's directories, and what not.
func shareMounts(spec drivers.Spec, cfg *monitor.Config) error {
	for i, m := range spec.Mounts {
		tree, err := host.Judge("mount "+m.Source(), m.Source(), spec.Hidden)
		if err != nil {
			return err
		}
		cfg.Mounts = append(cfg.Mounts, hypervisor.Shared{Name: guest.MountName(i), Tree: tree})
	}
	return nil
}

// chooseTools fills in what the VM is made of.
func (d *Driver) chooseTools(ctx context.Context, cfg *monitor.Config) (hypervisor.Tools, error) {
	h := d.hypervisor(cfg.Hypervisor)
	if h == nil {
		return nil, fmt.Errorf("this version knows no hypervisor %q", cfg.Hypervisor)
	}
	tools, err := h.Find(ctx, d.host)
	if err != nil {
		return nil, err
	}
	cfg.BootDeadline = cmp.Or(d.cfg.BootDeadline, tools.Boot().Deadline)
	cfg.Tools, err = json.Marshal(tools)
	return tools, err
}

// bootSpec is what the guest init reads.
func bootSpec(spec drivers.Spec, traits guest.Traits) guest.BootSpec {
	b := guest.BootSpec{
		Version: guest.Version, ID: spec.ID, Hostname: hostname(spec), Process: spec.Process, Stdin: spec.Stdin,
		Ephemeral: spec.VM.Ephemeral, AuthDir: spec.Auth.Target(), TokenUser: spec.VM.TokenUser, StopGrace: int64(outputGrace),
	}
	b.Names, b.Traits = host.Names(), &traits
	b.Process.Env = drivers.WithDefaults(spec.Process.Env, guestDefaults...)
	for i, m := range spec.Mounts {
		b.Mounts = append(b.Mounts, guest.GuestMount{Name: guest.MountName(i), Target: m.Target()})
	}
	return b
}

// hostname is the sandbox's name as far as it can be one.
func hostname(spec drivers.Spec) string {
	if spec.Name == "" {
		return spec.ID
	}
	return strings.ReplaceAll(spec.Name, "_", "-")
}
