package vm

import (
	"context"
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/api"
)

// Seen is what the guest init told the monitor last. A guest can lie about it, to nobody's harm but
// its own; it can't claim what was not published. A monitor of an older version does not tell when
// it heard that.
func (d *Driver) Seen(ctx context.Context, id string) (generation uint64, at time.Time, err error) {
	b := d.sandbox(id)
	spec, err := b.spec()
	if err != nil {
		return 0, at, err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	r, err := b.ask(ctx, api.Request{Status: &struct{}{}})
	switch {
	case err != nil:
		return 0, at, err
	case r.State != drivers.Running:
		return 0, at, drivers.ErrNotRunning
	case r.SeenGeneration == 0 || r.SeenGeneration > monitor.Generation(spec.Auth.Source()):
		return 0, at, fmt.Errorf("%w: its guest has not told", drivers.ErrNotTold)
	}
	return r.SeenGeneration, r.SeenAt, nil
}
