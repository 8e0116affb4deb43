package sandbox

import (
	"context"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox/request"
	"openshell-vm/gateway/state"
)

// Rename gives a sandbox another name. What runs goes on; a VM keeps its host name.
func (s *Sandbox) Rename(ctx context.Context, name string) error {
	if err := s.Acquire(ctx, roster.EndDeadline); err != nil {
		return err
	}
	defer s.Release()
	if err := s.Present(); err != nil {
		return err
	}
	return s.fleet.roster.Rename(s.Item, name)
}

// Change changes what can be changed of a sandbox. A new lifetime is that of the next token,
// which is published now; a restart policy holds at once. now reports whether new limits do,
// too: a VM has them from its next start on. If something is refused, nothing is changed.
func (s *Sandbox) Change(ctx context.Context, q api.UpdateRequest) (now bool, err error) {
	if err := s.Acquire(ctx, roster.EndDeadline); err != nil {
		return false, err
	}
	defer s.Release()
	if err := ready(s); err != nil {
		return false, err
	}
	changed := *s.Rec()
	if err := change(&changed, q); err != nil {
		return false, err
	}
	if now, err = limit(ctx, s, &changed, q); err != nil {
		return false, err
	}
	err = s.Update(func(r *state.Record) {
		r.Request.CPUs, r.Request.Memory = changed.Request.CPUs, changed.Request.Memory
		r.Request.TTL, r.Request.Restart, r.Warnings = changed.Request.TTL, changed.Request.Restart, changed.Warnings
	})
	if err != nil {
		return false, err
	}
	s.Tell(api.EventUpdated)
	if q.TTL == nil {
		return now, nil
	}
	if _, kept := s.Lease.Renewal(); !kept { // its next start publishes
		return now, nil
	}
	return now, s.Blame(s.Deliver(ctx, nil))
}

// change puts what is asked for into a copy of the record.
func change(r *state.Record, q api.UpdateRequest) error {
	asked := api.CreateRequest{AutoRemove: r.Request.AutoRemove, Restart: r.Request.Restart}
	if q.Restart != nil {
		asked.Restart = *q.Restart
	}
	if q.CPUs < 0 || q.Memory < 0 {
		return &api.Error{Code: api.CodeInvalid, Message: "CPUs and memory can't be negative", Hint: "leave out what is to stay as it is"}
	}
	if err := request.CheckRestart(&asked); err != nil {
		return err
	}
	r.Request.Restart = asked.Restart
	if q.TTL == nil {
		return nil
	}
	warning, err := explain.TTL(*q.TTL, r.Staleness)
	if err != nil {
		return explain.Invalid(err)
	}
	r.Request.TTL = *q.TTL
	if warning != "" {
		r.Warnings = append(r.Warnings[:len(r.Warnings):len(r.Warnings)], warning)
	}
	return nil
}

// limit lets the driver check and take other limits, if any are asked for.
func limit(ctx context.Context, s *Sandbox, r *state.Record, q api.UpdateRequest) (now bool, err error) {
	if q.CPUs == 0 && q.Memory == 0 {
		return true, nil
	}
	updater, ok := s.engine.driver.(drivers.Updater)
	if !ok {
		return false, explain.NotSupported(s.engine.driver.Name(), "change limits")
	}
	if q.CPUs != 0 {
		r.Request.CPUs = q.CPUs
	}
	if q.Memory != 0 {
		r.Request.Memory = q.Memory
	}
	tried := *r
	spec, err := s.fleet.resolve(ctx, s.engine.driver, &tried)
	if err != nil {
		return false, err
	}
	r.Request.CPUs, r.Request.Memory = spec.CPUs, spec.Memory
	return updater.Update(ctx, spec)
}
