package container

import (
	"context"
	"path/filepath"

	"openshell-vm/drivers"
	"openshell-vm/internal/mounts"
)

func (d *Driver) Mounting(ctx context.Context, dir string) ([]drivers.Mounting, error) {
	all, err := d.engine.Mounts(ctx)
	if err != nil {
		return nil, d.engine.Explain("ask "+d.Name()+" what its containers mount", err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		real = dir
	}
	var inside []drivers.Mounting
	for _, m := range all {
		source := filepath.Clean(m.Source)
		if mounts.Below(source, dir) || mounts.Below(source, real) {
			if f, err := d.engine.Inspect(ctx, m.Object); err == nil {
				m.ID = f.ID
				if m.Running {
					m.PID = f.PID
				}
			}
			inside = append(inside, m)
		}
	}
	return inside, nil
}
