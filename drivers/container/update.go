package container

import (
	"context"
	"fmt"

	"openshell-vm/drivers"
)

// Limited is an Engine that can change what a container may use, also for its later starts.
type Limited interface {
	// Limit sets the limits that are not 0.
	Limit(ctx context.Context, name string, cpus float64, memory int64) error
}

// Update changes the limits at once, and for later starts.
func (d *Driver) Update(ctx context.Context, spec drivers.Spec) (now bool, err error) {
	limited, ok := d.engine.(Limited)
	if !ok {
		return false, refuse(fmt.Errorf("%s keeps no changed limits of a container over its next start", d.Name()),
			"make another one with other --cpus and --memory, or take --driver vm or docker")
	}
	f, err := d.finder.find(ctx, spec.ID)
	if err != nil {
		return false, err
	}
	if err := limited.Limit(ctx, f.ID, spec.CPUs, spec.Memory); err != nil {
		return false, d.engine.Explain("change the limits", err)
	}
	return true, nil
}
