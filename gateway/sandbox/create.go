package sandbox

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audience"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/presets"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox/ports"
	"openshell-vm/gateway/sandbox/request"
	"openshell-vm/gateway/state"
	"openshell-vm/share/layout"
)

// Create makes a sandbox, its record and its share with a first token. It does not start
// the sandbox. If it fails or its caller goes away, all is removed again, if need be later
// by the reconciler.
func (f *Fleet) Create(ctx context.Context, q api.CreateRequest) (*Sandbox, error) {
	if err := request.Check(&q); err != nil {
		return nil, err
	}
	driver, err := f.Engines.Choose(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := f.roster.MayWrite(q.Mounts, q.Rootfs, q.Ephemeral); err != nil {
		return nil, &api.Error{Code: api.CodeInvalid, Message: err.Error(),
			Hint: "mount another directory, or mount this one read-only; or keep that token elsewhere"}
	}
	leave, err := f.engines[driver.Name()].enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if q.Ports, err = ports.Choose(driver.Name(), q.Ports, f.portTaken(nil)); err != nil {
		return nil, err
	}
	id := state.NewID()
	r := &state.Record{Version: state.Version, ID: id, Name: q.Name, Driver: driver.Name(), CreatedAt: time.Now(), Request: asRecorded(q),
		Share: filepath.Join(f.home.Shares, id), Door: fitsDoor(q.Mounts), GenerationLimit: state.GenerationStep}
	if !r.Door {
		r.Warnings = append(r.Warnings, noDoor)
	}
	r.Want(state.WantStopped)
	release, err := f.opts.Volumes.Claim(q.Mounts)
	if err != nil {
		return nil, err
	}
	made := false
	defer func() { release(made) }()
	free, err := f.opts.Shares.Claim(ctx, q.Shares)
	if err != nil {
		return nil, err
	}
	defer free()
	spec, err := f.resolve(ctx, driver, r)
	if err == nil {
		err = request.CheckRoot(ctx, driver, spec, q.Rootfs != "")
	}
	if err != nil {
		return nil, err
	}
	s, err := f.sandbox(r)
	if err == nil {
		err = creation{s, spec}.do(ctx)
	}
	if err != nil {
		return nil, err
	}
	made = true
	return s, nil
}

// creation is a sandbox that is being made.
type creation struct {
	*Sandbox
	spec drivers.Spec
}

// do makes what was resolved, or removes all of it again.
func (s creation) do(ctx context.Context) error {
	if err := s.Op.Lock(ctx); err != nil { // free: nobody else knows it yet
		return err
	}
	defer s.Release()
	ctx, done := s.Op.Cancellable(ctx, starting)
	defer done()
	if err := s.fleet.roster.Add(s.Item); err != nil {
		return err
	}
	s.spec.Name = s.Rec().Name // Add may have made the name up
	err := s.makeAll(ctx)
	if err == nil {
		err = context.Cause(ctx) // if the caller has gone, nobody knows of the sandbox
	}
	if err != nil {
		s.unmake(context.WithoutCancel(ctx))
		return roster.Ended(ctx, err)
	}
	s.Set(func() { s.touched = time.Now() })
	return nil
}

// makeAll makes what belongs to the sandbox, on disk and in the engine.
func (s creation) makeAll(ctx context.Context) error {
	if err := s.Begin(ctx); err != nil {
		return err
	}
	if err := s.openDoor(); err != nil {
		return err
	}
	driver := s.engine.driver
	if err := driver.Create(ctx, s.spec); err != nil {
		return err
	}
	s.Set(func() { s.status = drivers.Status{ID: s.ID, State: drivers.Created} })
	object, engine := objectOf(ctx, driver, s.ID), keepPlace(driver, s.ID)
	err := s.Update(func(r *state.Record) { r.Made, r.Object, r.Engine = true, object, engine })
	if err == nil {
		s.Tell(api.EventCreated, "driver", driver.Name(), "image", s.spec.Image)
	}
	return err
}

// unmake erases what a failed creation left. If it fails, the reconciler tries again.
func (s creation) unmake(ctx context.Context) {
	s.Set(func() { s.touched = time.Now() })
	if err := s.erase(ctx); err != nil {
		s.fleet.log.Warn("a failed creation is not taken back yet", "sandbox", s.ID, "error", explain.Line(err))
	}
}

// resolve lets the driver check and complete the request. For every driver it also checks
// what the mounts expose, and that the token lives long enough.
func (f *Fleet) resolve(ctx context.Context, driver drivers.Driver, r *state.Record) (drivers.Spec, error) {
	spec, err := specOf(r, f.home, filepath.Join(r.Share, layout.Auth))
	if err != nil {
		return spec, explain.Invalid(err)
	}
	if err := request.CheckSources(spec); err != nil {
		return spec, explain.Invalid(err)
	}
	spec, staleness, err := driver.Resolve(ctx, spec)
	if errors.Is(err, drivers.ErrNoImage) {
		err = f.Engines.InsteadOfVM(ctx, driver, r.Request.Driver, err)
	}
	if err != nil {
		return spec, explain.Invalid(err)
	}
	warning, err := explain.TTL(r.TTL(), staleness)
	if err != nil {
		return spec, explain.Invalid(err)
	}
	if warning != "" {
		r.Warnings = append(r.Warnings, warning)
	}
	warnings, err := audience.CheckTTL(r.Request.Tokens, staleness)
	if err != nil {
		return spec, err
	}
	if err := f.opts.Shares.Suit(r.Request.Shares, staleness); err != nil {
		return spec, err
	}
	r.Warnings = append(r.Warnings, warnings...)
	if placed, ok := driver.(drivers.Placed); ok {
		if _, note := placed.Place(); note != "" {
			r.Warnings = append(r.Warnings, note)
		}
	}
	r.Staleness = staleness
	fillIn(r, spec)
	spec.Process.Env = drivers.WithDefaults(spec.Process.Env, presets.Env(r.Request.Tokens, spec.Auth.Target())...)
	return spec, nil
}

// keepPlace returns the address of the engine in which a sandbox was just made or seen, and
// tells the driver to remember it. It returns "" if the driver has only one engine.
func keepPlace(driver drivers.Driver, id string) string {
	placed, ok := driver.(drivers.Placed)
	if !ok {
		return ""
	}
	address, _ := placed.Place()
	placed.KeepPlace(id, address)
	return address
}

// objectOf asks for the engine's own id of what was just made. It returns "" if the driver
// has no such ids, or if the engine did not answer: then the next look records the id.
func objectOf(ctx context.Context, driver drivers.Driver, id string) string {
	if _, ok := driver.(drivers.Keeper); !ok {
		return ""
	}
	status, err := driver.Inspect(ctx, id)
	if err != nil {
		return ""
	}
	return status.Object
}
