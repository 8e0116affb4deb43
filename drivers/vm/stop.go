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
	b, err := d.find(id)
	if err != nil {
		return err
	}
	return b.end(ctx, max(grace, 0))
}

// end stops the sandbox; a negative grace powers it off. If ctx ends first, the monitor
// still goes on to stop it.
func (b sandbox) end(ctx context.Context, grace time.Duration) error {
	if monitor.Alive(b.dir) {
		if err := b.askToEnd(ctx, grace); err != nil {
			return err
		}
	}
	// A killed monitor leaves its socket and its cgroups. If it was killed for want of
	// memory, the cgroups stay: they say why.
	if cfg, err := monitor.ReadConfig(b.dir); err == nil && cfg.MonitorOutOfMemory() == "" {
		b.removeCgroups()
	}
	return os.RemoveAll(b.runDir)
}

func (b sandbox) askToEnd(ctx context.Context, grace time.Duration) error {
	patient, cancel := context.WithTimeout(ctx, max(grace, 0)+endMargin)
	defer cancel()
	_, err := b.ask(patient, api.Request{Stop: &api.StopRequest{Grace: grace}})
	if err == nil {
		err = waitGone(patient, b.dir)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	b.log.Warn("a monitor did not end its VM and is killed", "sandbox", b.id, "error", err)
	return killMonitor(ctx, b.dir)
}

// Signal sends sig to the workload's main process.
func (d *Driver) Signal(ctx context.Context, id string, sig int) error {
	b, err := d.find(id)
	if err != nil {
		return err
	}
	_, err = b.ask(ctx, api.Request{Signal: &api.SignalRequest{Number: sig}})
	return err
}

// globEscape returns a pattern that matches only path.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
