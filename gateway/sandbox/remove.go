package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/roster"
)

// Remove deletes a sandbox. It refuses a running one, unless force is set. It also repeats
// a removal that failed before.
func (s *Sandbox) Remove(ctx context.Context, force bool) error {
	if !force {
		if err := s.refuseRunning(starting, api.StateRestarting); err != nil {
			return err
		}
		if err := s.Acquire(ctx, roster.EndDeadline); err != nil {
			return err
		}
	} else if err := s.AcquireUrgently(ctx, starting, stopping); err != nil {
		return err
	}
	defer s.Release()
	if s.Gone() {
		return s.Present()
	}
	ctx = context.WithoutCancel(ctx)
	if !force {
		if err := refuseUnseen(ctx, s); err != nil {
			return err
		}
		if err := s.refuseRunning(api.StateRunning, api.StateRestarting); err != nil {
			return err
		}
	}
	return s.ExplainRemoval(s.erase(ctx))
}

// refuseUnseen returns an error if the engine can't say whether the sandbox runs. Otherwise
// it has taken over what the engine says.
func refuseUnseen(ctx context.Context, s *Sandbox) error {
	if err := absence(s); err != nil {
		return err
	}
	err := s.refresh(ctx)
	if err == nil || errors.Is(err, drivers.ErrNotFound) {
		return nil
	}
	e := explain.Error(err)
	return &api.Error{Code: e.Code, Message: fmt.Sprintf("whether sandbox %s runs is not known: %s", s.Rec().Name, e.Message),
		Hint: "nothing was done; --force removes it all the same, as soon as its engine answers; " + e.Hint}
}

// refuseRunning returns an error if the sandbox is in one of these states.
func (s *Sandbox) refuseRunning(states ...api.State) error {
	v := s.Snapshot()
	if !slices.Contains(states, v.State) {
		return nil
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s is %s", v.Record.Name, v.State),
		Hint: "stop it first, or remove it all the same with --force"}
}

// erase removes the sandbox from the engine, then its share, and at last its record. The
// caller holds Op.
func (s *Sandbox) erase(ctx context.Context) error {
	return s.Erase(ctx, func(ctx context.Context) error {
		if err := s.engine.driver.Remove(ctx, s.ID); err != nil && !errors.Is(err, drivers.ErrNotFound) {
			return err
		}
		s.Set(s.wasRemoved)
		return s.fleet.opts.Doors.Remove(s.ID, s.Rec().DoorDir())
	})
}

// wasRemoved notes that the engine does not have the sandbox any more. The caller holds Mu.
func (s *Sandbox) wasRemoved() {
	s.Removed = true
	s.run.removed()
}
