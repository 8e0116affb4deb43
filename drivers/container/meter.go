package container

import (
	"context"

	"openshell-vm/drivers"
)

func (d *Driver) Usage(ctx context.Context, id string) (drivers.Usage, error) {
	f, err := d.finder.find(ctx, id)
	if err != nil {
		return drivers.Usage{}, err
	}
	if f.State != drivers.Running {
		return drivers.Usage{}, drivers.ErrNotRunning
	}
	u, err := d.engine.Usage(ctx, f.ID)
	if err != nil {
		return u, d.engine.Explain("ask what the container uses", d.orEnded(ctx, f.ID, err))
	}
	return u, nil
}
