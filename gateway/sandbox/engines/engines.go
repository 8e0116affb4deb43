// Package engines holds the drivers of a gateway in the order of preference. It finds the one
// for a request, and tells users what each can do here.
package engines

import (
	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// Engines are a gateway's drivers. It is safe for concurrent use.
type Engines struct {
	all    []drivers.Driver // in the order in which auto prefers them
	beside func(drivers.Info) []drivers.Fact
	probes probeCache
}

// New makes Engines of drivers in the order in which auto prefers them. beside returns further
// lines of doctor's on an engine.
func New(all []drivers.Driver, beside func(drivers.Info) []drivers.Fact) *Engines {
	return &Engines{all: all, beside: beside}
}

// named finds a driver by its name; nil if there is none.
func (e *Engines) named(name string) drivers.Driver {
	for _, d := range e.all {
		if d.Name() == name {
			return d
		}
	}
	return nil
}

func (e *Engines) names() []string {
	names := make([]string, 0, len(e.all))
	for _, d := range e.all {
		names = append(names, d.Name())
	}
	return names
}

// ImageKeeper returns the driver that keeps images.
func (e *Engines) ImageKeeper() (drivers.ImageKeeper, error) {
	for _, d := range e.all {
		if keeper, ok := d.(drivers.ImageKeeper); ok {
			return keeper, nil
		}
	}
	return nil, &api.Error{Code: api.CodeNotFound, Message: "no driver here keeps images", Hint: "use docker images or podman images"}
}
