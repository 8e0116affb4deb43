package sandbox

import (
	"context"
	"errors"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox/decide"
	"openshell-vm/gateway/state"
)

// waitEvery is how often a waiter asks an engine that can't wait itself.
const waitEvery = 200 * time.Millisecond

// Wait returns once the sandbox no longer runs.
func (s *Sandbox) Wait(ctx context.Context) (api.WaitResult, error) {
	defer s.Client()()
	driver := s.engine.driver
	for {
		status, err := driver.Inspect(ctx, s.ID)
		if waiter, ok := driver.(drivers.Waiter); ok && err == nil && status.State == drivers.Running {
			status, err = waiter.Wait(ctx, s.ID)
		}
		if errors.Is(err, drivers.ErrNotFound) {
			s.LookAt(ctx) // so that the sandbox's own state says so too
			status, err = s.removedAs(), nil
		}
		if err != nil {
			return api.WaitResult{}, err
		}
		if status.State != drivers.Running && !s.comesBack(status) {
			return waitResult(status), nil
		}
		select {
		case <-ctx.Done():
			return api.WaitResult{}, ctx.Err()
		case <-time.After(waitEvery):
		}
	}
}

// comesBack reports whether a sandbox that does not run is being started, or will be by its
// restart policy.
func (s *Sandbox) comesBack(status drivers.Status) bool {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.RecLocked()
	ended := status.State == drivers.Exited || status.State == drivers.Dead
	again := ended && r.Desired == state.WantRunning && r.Lost == "" && !s.Removed && !s.killed && decide.Restarts(r, status)
	return s.doing == starting || again
}

// removedAs returns the last status of a sandbox that its engine does not have any more. If
// that was not noted yet, because an operation is under way, the status is Running.
func (s *Sandbox) removedAs() drivers.Status {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	switch {
	case s.status.State == drivers.Exited || s.status.State == drivers.Dead:
		return s.status
	case s.Removed || s.GoneLocked():
		return drivers.Status{ID: s.ID, State: drivers.Dead, Reason: "it was removed, and nothing is known of its end"}
	}
	return drivers.Status{ID: s.ID, State: drivers.Running}
}

func waitResult(status drivers.Status) api.WaitResult {
	r := api.WaitResult{ExitCode: status.ExitCode, Reason: status.Reason}
	if status.State == drivers.Dead {
		r.ExitCode = 125
		if r.Reason == "" {
			r.Reason = "it ended without an exit code"
		}
	}
	return r
}

// Client counts a connected stream until end is called. With --rm, a sandbox is removed
// only after its streams have ended. So end also looks at the sandbox: it may have to be
// removed now.
func (s *Sandbox) Client() (end func()) {
	s.Set(func() { s.clients++ })
	return func() {
		s.Set(func() { s.clients-- })
		s.fleet.work.begin(func() { s.LookAt(context.Background()) })
	}
}
