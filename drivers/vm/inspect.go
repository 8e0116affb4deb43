package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/images/library"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
)

// reportTimeout bounds how long a monitor may take to report its state.
const reportTimeout = 5 * time.Second

// Inspect finds the state from what is in the sandbox's directory, and from the monitor's
// report while there is a monitor. While the guest boots the state is still Created.
func (d *Driver) Inspect(ctx context.Context, id string) (drivers.Status, error) {
	b := d.sandbox(id)
	spec, err := b.spec()
	if err != nil {
		return drivers.Status{}, err
	}
	status := drivers.Status{ID: id, Name: spec.Name, Spec: &spec}
	alive := monitor.Alive(b.dir) // ask this first: the exit is on disk before the monitor ends
	exit, err := monitor.ReadExit(b.dir)
	if err == nil && b.stale(exit) {
		err = fs.ErrNotExist
	}
	switch {
	case err == nil:
		status.State, status.ExitCode, status.Reason = exit.State, exit.ExitCode, exit.Reason
		status.StartedAt, status.ExitedAt, status.SeenGeneration = exit.StartedAt, exit.ExitedAt, exit.SeenGeneration
	case !errors.Is(err, fs.ErrNotExist):
		return status, err
	case alive:
		b.inspectRunning(ctx, &status)
	default:
		b.inspectStopped(&status)
	}
	if status.SeenGeneration > monitor.Generation(spec.Auth.Source()) {
		status.SeenGeneration = 0 // an older monitor believed its guest
	}
	status.Details = append(d.facts(spec), status.Details...)
	return status, nil
}

// stale reports whether an exit on disk is that of an earlier boot. Older versions left it
// there when they booted once more.
func (b sandbox) stale(exit monitor.Exit) bool {
	cfg, err := monitor.ReadConfig(b.dir) // written before the boot begins
	return err == nil && max(exit.Attempt, 1) < cfg.Attempt
}

func (b sandbox) inspectRunning(ctx context.Context, status *drivers.Status) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	status.State = drivers.Running
	r, err := b.ask(ctx, api.Request{Status: &struct{}{}})
	if err != nil {
		status.Reason = "its monitor can't be asked: " + err.Error()
		return
	}
	if r.State == "" {
		status.State = drivers.Created
	}
	status.StartedAt, status.SeenGeneration = r.StartedAt, r.SeenGeneration
	if r.Attempt > 1 {
		status.Reason = fmt.Sprintf("the first boot hung or crashed; this is boot %d", r.Attempt)
	}
	status.Reason = cmp.Or(r.Reason, r.Network, r.Output, r.Mirror, r.Doing, status.Reason)
	status.Details = append(status.Details, drivers.Fact{Name: "guest kernel", Value: r.Kernel})
	pids := map[string]int{}
	maps.Copy(pids, r.PIDs)
	if pid, err := monitor.PID(b.dir); err == nil {
		pids["monitor"] = pid
	}
	for _, name := range slices.Sorted(maps.Keys(pids)) {
		status.Details = append(status.Details, drivers.Fact{Name: "pid of " + name, Value: strconv.Itoa(pids[name])})
	}
	status.Details = append(status.Details, r.Jail...)
}

// inspectStopped tells apart a sandbox that was never started and one whose monitor died
// without an exit status.
func (b sandbox) inspectStopped(status *drivers.Status) {
	status.State = drivers.Created
	if _, err := os.Stat(filepath.Join(b.dir, monitor.ConfigFile)); err == nil {
		status.State = drivers.Dead
		status.Reason = "its monitor ended without an exit status: it was killed, or the host went down"
	}
	if cfg, err := monitor.ReadConfig(b.dir); err == nil {
		status.Reason = cmp.Or(cfg.MonitorOutOfMemory(), status.Reason)
	}
}

// facts returns what is known of a sandbox in any state.
func (d *Driver) facts(spec drivers.Spec) []drivers.Fact {
	facts := []drivers.Fact{{Name: "hypervisor", Value: spec.VM.Hypervisor}}
	if spec.VM.Inotify {
		facts = append(facts, drivers.Fact{Name: "mirror of the share", Value: drivers.MirrorDir})
	}
	if kept, err := library.Read(d.dir(spec.ID)); err == nil {
		facts = append(facts, drivers.Fact{Name: "image ID", Value: kept.ID}, drivers.Fact{Name: "image digest", Value: kept.Digest})
	}
	if tools, err := d.hypervisors.read(d.dir(spec.ID)); err == nil {
		facts = append(facts, tools.Facts()...)
	}
	return append(facts, drivers.Fact{Name: "console log", Value: filepath.Join(d.dir(spec.ID), logs.ConsoleFile)})
}

// List returns every sandbox with a directory and a spec of this driver and gateway.
func (d *Driver) List(ctx context.Context) ([]drivers.Status, error) {
	entries, err := os.ReadDir(d.cfg.SandboxesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []drivers.Status
	for _, e := range entries {
		if spec, err := d.sandbox(e.Name()).spec(); err == nil && spec.GatewayID != d.cfg.GatewayID {
			continue
		}
		status, err := d.Inspect(ctx, e.Name())
		if errors.Is(err, drivers.ErrNotFound) {
			continue
		} else if err != nil {
			status = drivers.Status{ID: e.Name(), State: drivers.Dead, Reason: err.Error()}
		}
		all = append(all, status)
	}
	return all, nil
}

// Wait returns once the sandbox has no monitor.
func (d *Driver) Wait(ctx context.Context, id string) (drivers.Status, error) {
	b, err := d.find(id)
	if err != nil {
		return drivers.Status{}, err
	}
	if err := waitGone(ctx, b.dir); err != nil {
		return drivers.Status{}, err
	}
	return d.Inspect(ctx, id)
}
