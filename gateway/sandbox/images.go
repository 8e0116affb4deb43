package sandbox

import (
	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// ImageKeeper returns the driver that keeps images.
func (f *Fleet) ImageKeeper() (drivers.ImageKeeper, error) {
	for _, d := range f.opts.Drivers {
		if keeper, ok := d.(drivers.ImageKeeper); ok {
			return keeper, nil
		}
	}
	return nil, &api.Error{Code: api.CodeNotFound, Message: "no driver here keeps images", Hint: "use docker images or podman images"}
}
