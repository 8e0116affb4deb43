package vm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/qemu"
	"openshell-vm/internal/atomicfile"
)

const (
	bootDeadline    = 20 * time.Second
	bootDeadlineTCG = 60 * time.Second
	outputGrace     = 5 * time.Second // for the last output after the workload ended
	reportMargin    = 30 * time.Second
)

// LongestStart is for the slowest VM: one that hung at its first try, and tells of
// progress at the second.
func (d *Driver) LongestStart() time.Duration {
	c := monitor.Config{BootDeadline: cmp.Or(d.cfg.BootDeadline, bootDeadlineTCG)}
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
	cfg, err := d.prepare(ctx, spec)
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
		if !failure.Hung && !failure.Crashed || cfg.QEMU.Accel != qemu.TCG || cfg.Attempt > 1 {
			return startError(cfg, failure)
		}
		if err := d.chooseTools(ctx, &cfg); err != nil { // the cache may have been emptied meanwhile
			return err
		}
		d.cfg.Log.Warn("the boot failed, as boots do now and then under TCG; it is started once more",
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
		if r, err := d.ask(ctx, id, monitor.Request{Status: &struct{}{}}); err == nil && r.State == drivers.Running {
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
func (d *Driver) prepare(ctx context.Context, spec drivers.Spec) (monitor.Config, error) {
	dir := d.dir(spec.ID)
	cfg := monitor.Config{
		ID: spec.ID, Dir: dir, RunDir: d.runDir(spec.ID), Boot: filepath.Join(dir, bootDir),
		Auth: spec.Auth.Source(), CPUs: int(spec.CPUs), Memory: spec.Memory,
		Hypervisor: spec.Hypervisor, KVM: d.cfg.KVM, RequireJail: d.cfg.RequireJail || spec.RequireJail,
		StopGrace: outputGrace, Attempt: 1,
	}
	if !spec.Ephemeral {
		cfg.Upper = filepath.Join(dir, upperFile)
	}
	if err := d.shareRoot(ctx, spec, &cfg); err != nil {
		return cfg, err
	}
	if err := shareMounts(spec, &cfg); err != nil {
		return cfg, err
	}
	if err := d.chooseTools(ctx, &cfg); err != nil {
		return cfg, err
	}
	placeVM(&cfg, namesLimit(maxDescriptors()))
	if err := os.Remove(filepath.Join(dir, monitor.ExitFile)); err != nil && !os.IsNotExist(err) {
		return cfg, err
	}
	return cfg, atomicfile.WriteJSON(filepath.Join(cfg.Boot, guest.SpecFile), bootSpec(spec), atomicfile.Volatile)
}

// shareRoot says what root the guest is to see. Its own lies with the sandbox's
// files, where nobody else's root may: it holds nothing but what was made here.
func (d *Driver) shareRoot(ctx context.Context, spec drivers.Spec, cfg *monitor.Config) error {
	if ownRoot(spec.Rootfs) {
		cfg.Rootfs = monitor.Tree{Source: filepath.Join(cfg.Dir, rootDir)}
		return d.makeRoot(ctx, cfg.Rootfs.Source)
	}
	var err error
	cfg.Rootfs, err = judge("use the root directory", spec.Rootfs, spec.Hidden)
	return err
}

// shareMounts says what the guest is to see of the user's directories, and what not.
func shareMounts(spec drivers.Spec, cfg *monitor.Config) error {
	for i, m := range spec.Mounts {
		tree, err := judge("mount "+m.Source(), m.Source(), spec.Hidden)
		if err != nil {
			return err
		}
		cfg.Mounts = append(cfg.Mounts, monitor.Shared{Name: guest.MountName(i), Tree: tree})
	}
	return nil
}

// judge checks a directory that the guest is to see, and says which one it was:
// the jail takes no other.
func judge(op, dir string, hidden []string) (monitor.Tree, error) {
	if err := checkDir(op, dir, hidden); err != nil {
		return monitor.Tree{}, err
	}
	is, masks, err := drivers.Judge(dir, hidden)
	return monitor.Tree{Source: dir, Is: is, Masks: masks}, err
}

// chooseTools fills in the hypervisor's part of the configuration.
func (d *Driver) chooseTools(ctx context.Context, cfg *monitor.Config) (err error) {
	cfg.BootDeadline = bootDeadline
	if cfg.Hypervisor == hypervisorKrun {
		if cfg.Krun, err = d.krunTools(ctx); err != nil {
			return err
		}
	} else {
		if cfg.QEMU, err = d.qemuTools(ctx); err != nil {
			return err
		}
		if cfg.QEMU.Accel == qemu.TCG {
			cfg.BootDeadline = bootDeadlineTCG
		}
	}
	if d.cfg.BootDeadline > 0 {
		cfg.BootDeadline = d.cfg.BootDeadline
	}
	return nil
}

// bootSpec is what the guest init reads.
func bootSpec(spec drivers.Spec) guest.BootSpec {
	b := guest.BootSpec{
		Version: guest.Version, ID: spec.ID, Hostname: hostname(spec), Process: spec.Process, Stdin: spec.Stdin,
		Ephemeral: spec.Ephemeral, AuthDir: spec.Auth.Target(), TokenUser: spec.TokenUser, StopGrace: int64(outputGrace),
	}
	b.Names, b.Traits = namesLimit(maxDescriptors()), traits(spec.Hypervisor)
	b.Process.Env = drivers.WithDefaults(spec.Process.Env, guestDefaults...)
	for i, m := range spec.Mounts {
		b.Mounts = append(b.Mounts, guest.GuestMount{Name: guest.MountName(i), Target: m.Target()})
	}
	return b
}

// krunTraits: libkrun's server caches names for 5 s. 0x7602 is its request, on its
// root, that sets what its process exits with; a restart ends it, since its machine
// has no power switch; and it gives a disk a serial number of its own making.
var krunTraits = guest.Traits{CachesNames: true, LoneDisk: true, ExitRequest: 0x7602, EndsByRestart: true}

func traits(hypervisor string) *guest.Traits {
	if hypervisor == hypervisorKrun {
		return &krunTraits
	}
	return &guest.Traits{}
}

// namesMargin is more names than a guest looks up before it notices how many it
// remembers.
const namesMargin = 16 << 10

// namesLimit is for the descriptors that a jail gives to a file server. At least
// half of them are left for what the guest has in use.
func namesLimit(descriptors uint64) uint64 {
	return min(descriptors/2, max(descriptors/8, descriptors-min(descriptors, namesMargin)))
}

// maxDescriptors is the limit that a jail raises a program's to; 0 if it is not
// known.
func maxDescriptors() uint64 {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 0
	}
	return files.Max
}

// hostname is the sandbox's name as far as it can be one.
func hostname(spec drivers.Spec) string {
	if spec.Name == "" {
		return spec.ID
	}
	return strings.ReplaceAll(spec.Name, "_", "-")
}

// boot starts a monitor and waits for its report: nil if the workload runs. The
// lock goes to the monitor; the caller closes its own copy.
func (d *Driver) boot(ctx context.Context, cfg monitor.Config, lock *os.File) (*monitor.Ready, error) {
	// A monitor that was killed has left its socket and its cgroups.
	d.removeCgroups(cfg.ID)
	if err := errors.Join(os.RemoveAll(cfg.RunDir), os.MkdirAll(cfg.RunDir, 0o700), cfg.Write()); err != nil {
		return nil, err
	}
	report, err := d.spawn(cfg, lock)
	if err != nil {
		return nil, err
	}
	defer report.Close()
	lock.Close() // so that the monitor's copy is the only one
	report.SetReadDeadline(time.Now().Add(cfg.LongestBoot() + reportMargin))
	stop := context.AfterFunc(ctx, func() { report.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var ready monitor.Ready
	if err := json.NewDecoder(report).Decode(&ready); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		cleanUp, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportMargin)
		defer cancel()
		return nil, errors.Join(
			fmt.Errorf("the VM's monitor gave no report (see %s): %w", filepath.Join(cfg.Dir, monitor.LogFile), err),
			killMonitor(cleanUp, cfg.Dir))
	}
	if ready.Problem == "" {
		return nil, nil
	}
	return &ready, waitGone(ctx, cfg.Dir)
}

// spawn starts the monitor in a session of its own, with no descriptor but its
// log, the report's pipe and the lock. It returns the pipe's other end.
func (d *Driver) spawn(cfg monitor.Config, lock *os.File) (report *os.File, err error) {
	report, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	log, err := os.OpenFile(filepath.Join(cfg.Dir, monitor.LogFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		report.Close()
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(d.libexec(monitorProgram), "monitor", cfg.Dir)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs, lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		report.Close()
		return nil, &drivers.Error{Op: "start the VM's monitor", Err: err, Hint: "install openshell-vmm beside openshell-gateway"}
	}
	go cmd.Wait() // reap it, if it ends before this process
	return report, nil
}

// startError tells the user what a monitor reported.
func startError(cfg monitor.Config, r *monitor.Ready) error {
	text := r.Problem
	if (r.Hung || r.Crashed) && cfg.Attempt > 1 {
		text += fmt.Sprintf(", in %d tries", cfg.Attempt)
	}
	if r.Console != "" {
		text += "; the last lines of its console: " + strings.ReplaceAll(r.Console, "\n", " | ")
	}
	hint := r.Hint
	if hint == "" {
		hint = "see " + filepath.Join(cfg.Dir, monitor.ConsoleFile) + " and " + monitor.ToolsFile + " beside it"
	}
	return &drivers.Error{Op: "start the VM", Err: errors.New(text), Hint: hint}
}
