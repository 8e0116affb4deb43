package sandbox

import (
	"context"
	"errors"
	"time"

	"openshell-vm/drivers"
)

// absent stands for a driver that this gateway does not have, because another version made
// the sandbox. Nobody knows whether the sandbox runs, so its token is renewed. Of all
// operations only a forced removal works.
type absent string

func (a absent) err() error {
	return &drivers.Error{Op: "use the driver " + string(a), Err: errors.New("this gateway has none of that name"),
		Hint: "install the version that made the sandbox; rm --force forgets it, and its engine keeps it"}
}

// absence returns an error if a sandbox's driver is absent.
func absence(s *Sandbox) error {
	if a, ok := s.engine.driver.(absent); ok {
		return a.err()
	}
	return nil
}

func (a absent) Name() string                       { return string(a) }
func (a absent) Probe(context.Context) drivers.Info { return drivers.Info{Problem: a.err().Error()} }
func (a absent) Resolve(_ context.Context, spec drivers.Spec) (drivers.Spec, time.Duration, error) {
	return spec, 0, a.err()
}
func (a absent) Create(context.Context, drivers.Spec) error        { return a.err() }
func (a absent) Start(context.Context, string) error               { return a.err() }
func (a absent) Stop(context.Context, string, time.Duration) error { return a.err() }
func (a absent) Remove(context.Context, string) error              { return drivers.ErrNotFound }
func (a absent) Inspect(context.Context, string) (drivers.Status, error) {
	return drivers.Status{}, a.err()
}
func (a absent) List(context.Context) ([]drivers.Status, error) { return nil, a.err() }
