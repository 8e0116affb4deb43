package vm

import (
	"context"
	"os"
	"strings"
	"time"

	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/api"
)

// endMargin is how much longer than the grace a monitor may take. After that it is killed,
// together with its VM.
const endMargin = 15 * time.Second

// Stop asks the workload to end and returns when nothing of the VM is left.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	if _, err := d.spec(id); err != nil {
		return err
	}
	return d.end(ctx, id, max(grace, 0))
}

// end stops the sandbox; a negative grace powers it off. If ctx ends first, the monitor
// still goes on to stop it.
func (d *Driver) end(ctx context.Context, id string, grace time.Duration) error {
	dir := d.dir(id)
	if monitor.Alive(dir) {
		if err := d.askToEnd(ctx, id, grace); err != nil {
			return err
		}
	}
	// A killed monitor leaves its socket and its cgroups. If it was killed for want of
	// memory, the cgroups stay: they say why.
	if cfg, err := monitor.ReadConfig(dir); err == nil && cfg.MonitorOutOfMemory() == "" {
		d.removeCgroups(id)
	}
	return os.RemoveAll(d.runDir(id))
}

func (d *Driver) askToEnd(ctx context.Context, id string, grace time.Duration) error {
	patient, cancel := context.WithTimeout(ctx, max(grace, 0)+endMargin)
	defer cancel()
	_, err := d.ask(patient, id, api.Request{Stop: &api.StopRequest{Grace: grace}})
	if err == nil {
		err = waitGone(patient, d.dir(id))
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	d.cfg.Log.Warn("a monitor did not end its VM and is killed", "sandbox", id, "error", err)
	return killMonitor(ctx, d.dir(id))
}

// Signal sends sig to the workload's main process.
func (d *Driver) Signal(ctx context.Context, id string, sig int) error {
	if _, err := d.spec(id); err != nil {
		return err
	}
	_, err := d.ask(ctx, id, api.Request{Signal: &api.SignalRequest{Number: sig}})
	return err
}

// globEscape returns a pattern that matches only path.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
