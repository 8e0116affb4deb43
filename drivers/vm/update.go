package vm

import (
	"context"
	"path/filepath"

	"openshell-vm/drivers"
	"openshell-vm/internal/atomicfile"
)

// Update writes the limits into the spec that Create wrote. The next start reads it.
func (d *Driver) Update(_ context.Context, spec drivers.Spec) (now bool, err error) {
	kept, err := d.sandbox(spec.ID).spec()
	if err != nil {
		return false, err
	}
	kept.CPUs, kept.Memory = spec.CPUs, spec.Memory
	return false, atomicfile.WriteJSON(filepath.Join(d.dir(spec.ID), specFile), kept, atomicfile.Durable)
}
