package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

const (
	defaultGrace  = 10 * time.Second // between asking a workload to end and killing it
	startDeadline = 3 * time.Minute  // of a driver's Start, unless it is a LongStarter
	endDeadline   = time.Minute      // of a driver's Stop after the grace, and of Remove
	waitEvery     = 200 * time.Millisecond

	starting, stopping = api.StateStarting, api.StateStopping // what sandbox.doing says
)

// start brings a sandbox up for a user. One that runs is left as it is.
func (g *Gateway) start(ctx context.Context, s *sandbox) error {
	if err := g.acquire(ctx, s, g.startDeadline(s)+endDeadline); err != nil {
		return err
	}
	defer g.release(s)
	if err := s.present(); err != nil {
		return err
	}
	// A caller that goes away leaves no half-started sandbox.
	ctx, done := s.op.cancellable(context.WithoutCancel(ctx), starting)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, g.startDeadline(s))
	defer cancel()
	if status, err := g.drivers[s.rec().Driver].Inspect(ctx, s.id); err == nil && status.State == drivers.Running {
		s.observe(status, time.Now())
		if s.rec().Desired == state.WantRunning {
			return nil
		}
		return g.update(s, func(r *state.Record) { r.Want(state.WantRunning) })
	}
	err := g.bringUp(ctx, s)
	if err == nil {
		return nil
	}
	// The user was told: nothing is tried again behind their back.
	if undo := g.update(s, func(r *state.Record) { r.Want(state.WantStopped) }); undo != nil {
		g.log.Warn("a failed start stays desired", "sandbox", s.id, "error", oneLine(undo))
	}
	g.refresh(context.WithoutCancel(ctx), s)
	return ended(ctx, err)
}

// startDeadline bounds one start of a sandbox.
func (g *Gateway) startDeadline(s *sandbox) time.Duration {
	if d, ok := g.drivers[s.rec().Driver].(drivers.LongStarter); ok {
		return max(startDeadline, d.LongestStart())
	}
	return startDeadline
}

// acquire waits for its turn to operate on a sandbox, but not for ever.
func (g *Gateway) acquire(ctx context.Context, s *sandbox, patience time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.busy(s.op.lock(bounded))
}

// acquireUrgently cancels what is under way, if it is of one of these kinds,
// and waits for its turn.
func (g *Gateway) acquireUrgently(ctx context.Context, s *sandbox, kinds ...api.State) error {
	bounded, cancel := context.WithTimeout(ctx, endDeadline)
	defer cancel()
	why := &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s was stopped or removed meanwhile", s.rec().Name),
		Hint: "openshell-vm ps -a shows what became of it"}
	return s.busy(s.op.lockUrgently(bounded, why, kinds...))
}

// busy explains why the lock could not be had.
func (s *sandbox) busy(err error) error {
	if err == nil {
		return nil
	}
	v := s.view()
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%s is busy (%s): %v", v.Name, v.State, err),
		Hint: "nothing was done; openshell-vm doctor says how its engine is"}
}

// bringUp starts or resumes a sandbox. The caller holds s.op. Killed in
// between, the next gateway finds the wish and does it all again.
func (g *Gateway) bringUp(ctx context.Context, s *sandbox) error {
	s.op.mustBeHeld()
	defer s.begin(starting)()
	ctx, cancel := context.WithTimeout(ctx, g.startDeadline(s))
	defer cancel()
	if s.rec().Lost != "" {
		if err := g.remake(ctx, s); err != nil {
			return err
		}
	}
	// A share on tmpfs is lost with the host's last boot. One that is there is
	// left as it is.
	if err := g.makeShare(s.rec()); err != nil {
		return err
	}
	mounted, err := state.InodeOf(s.share.AuthDir())
	if err != nil {
		return err
	}
	err = g.update(s, func(r *state.Record) {
		r.Want(state.WantRunning)
		r.Start = state.StartRecord{BootID: g.bootID, Share: mounted}
	})
	if err != nil {
		return err
	}
	fault("record-start")
	if err := g.deliver(ctx, s, true); err != nil {
		return err
	}
	s.set(func() { s.up = true })
	g.refresh(ctx, s)
	return nil
}

// remake makes a lost sandbox anew in its engine, from its record.
func (g *Gateway) remake(ctx context.Context, s *sandbox) error {
	r := *s.rec()
	if err := g.makeShare(&r); err != nil {
		return err
	}
	driver := g.drivers[r.Driver]
	r.Warnings = nil
	if keeper, ok := driver.(drivers.Keeper); ok {
		keeper.Keep(r.ID, "") // what it was is gone
	}
	if placed, ok := driver.(drivers.Placed); ok {
		placed.KeepPlace(r.ID, "")
	}
	spec, err := g.resolve(ctx, driver, &r)
	if err != nil {
		return err
	}
	if err := driver.Create(ctx, spec); err != nil && !errors.Is(err, drivers.ErrExists) {
		return err
	}
	object, engine := objectOf(ctx, driver, r.ID), keepPlace(driver, r.ID)
	err = g.update(s, func(r *state.Record) { r.Lost, r.Object, r.Engine = "", object, engine })
	s.set(func() { s.removed = err != nil })
	return err
}

// refresh takes over the engine's view after an operation. The caller holds s.op.
func (g *Gateway) refresh(ctx context.Context, s *sandbox) {
	ctx, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	asked := time.Now()
	if status, err := g.drivers[s.rec().Driver].Inspect(ctx, s.id); err == nil {
		s.observe(status, asked)
	}
}

// stopSandbox ends the workload and leaves the sandbox.
func (g *Gateway) stopSandbox(ctx context.Context, s *sandbox, grace time.Duration) error {
	if err := g.acquireUrgently(ctx, s, starting); err != nil {
		return err
	}
	defer g.release(s)
	if err := s.present(); err != nil {
		return err
	}
	if err := g.update(s, func(r *state.Record) { r.Want(state.WantStopped) }); err != nil {
		return err
	}
	ctx, done := s.op.cancellable(context.WithoutCancel(ctx), stopping)
	defer done()
	return ended(ctx, g.halt(ctx, s, grace))
}

// halt stops it in the engine. The caller holds s.op.
func (g *Gateway) halt(ctx context.Context, s *sandbox, grace time.Duration) error {
	s.op.mustBeHeld()
	defer s.begin(stopping)()
	ctx, cancel := context.WithTimeout(ctx, grace+endDeadline)
	defer cancel()
	if err := g.drivers[s.rec().Driver].Stop(ctx, s.id, grace); err != nil {
		return err
	}
	s.set(func() { s.up, s.problem = false, "" })
	g.refresh(ctx, s)
	return nil
}

// remove deletes a sandbox, a running one only by force. One whose removal
// failed before is tried again.
func (g *Gateway) remove(ctx context.Context, s *sandbox, force bool) error {
	if !force {
		if err := s.refuseRunning(starting); err != nil {
			return err
		}
		if err := g.acquire(ctx, s, endDeadline); err != nil {
			return err
		}
	} else if err := g.acquireUrgently(ctx, s, starting, stopping); err != nil {
		return err
	}
	defer g.release(s)
	if s.isGone() {
		return s.present()
	}
	ctx = context.WithoutCancel(ctx)
	if !force {
		g.refresh(ctx, s)
		if err := s.refuseRunning(api.StateRunning); err != nil {
			return err
		}
	}
	return g.explainRemoval(s, g.erase(ctx, s))
}

// refuseRunning refuses to remove what is in such a state.
func (s *sandbox) refuseRunning(state api.State) error {
	v := s.view()
	if v.State != state {
		return nil
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s is %s", v.Name, state),
		Hint: "stop it first, or remove it all the same with --force"}
}

// explainRemoval says what becomes of what could not be removed: the removal
// goes on if the wish stands on disk, and is forgotten otherwise. While it runs
// it is renewed.
func (g *Gateway) explainRemoval(s *sandbox, err error) error {
	if err == nil {
		return nil
	}
	var goesOn bool
	s.set(func() {
		if goesOn = s.record.Desired == state.WantGone; goesOn {
			s.problem = "it can't be removed yet: " + oneLine(err)
		}
	})
	e := *explain(err)
	e.Message = fmt.Sprintf("%s is not removed: %s", s.rec().Name, e.Message)
	if goesOn {
		e.Hint = "the gateway goes on trying, and renews its token until then; " + e.Hint
	}
	return &e
}

// erase removes a sandbox from the engine, its share, and at last its record.
// The caller holds s.op. Killed or failed in between, it is repeated by the
// reconciler. Its token is renewed until there is nothing that could hold it.
func (g *Gateway) erase(ctx context.Context, s *sandbox) error {
	s.op.mustBeHeld()
	ctx, cancel := context.WithTimeout(ctx, endDeadline)
	defer cancel()
	if err := g.update(s, func(r *state.Record) { r.Want(state.WantGone) }); err != nil {
		// On a full disk a removal is what helps: it goes on without the note.
		g.log.Warn("a removal begins without a note on disk", "sandbox", s.id, "error", oneLine(err))
	}
	if driver := g.drivers[s.rec().Driver]; driver != nil {
		if err := driver.Remove(ctx, s.id); err != nil && !errors.Is(err, drivers.ErrNotFound) {
			return err
		}
		s.set(s.wasRemoved)
	}
	if err := s.share.Remove(ctx); err != nil {
		return err
	}
	s.set(func() { s.removed = true })
	if err := g.home.Forget(s.id); err != nil {
		return err
	}
	g.drop(s)
	return nil
}

// wasRemoved notes that the engine has it no more. The caller holds s.mu.
func (s *sandbox) wasRemoved() {
	s.removed, s.up, s.touched = true, false, time.Now()
	if s.status.State == drivers.Running {
		s.status.State, s.status.ExitCode, s.status.ExitedAt = drivers.Exited, 128+9, s.touched
		s.status.Reason = "it was removed while it ran"
	}
}

// wait returns once the sandbox no longer runs.
func (g *Gateway) wait(ctx context.Context, s *sandbox) (api.WaitResult, error) {
	defer g.client(s)()
	driver := g.drivers[s.rec().Driver]
	for {
		status, err := driver.Inspect(ctx, s.id)
		if waiter, ok := driver.(drivers.Waiter); ok && err == nil && status.State == drivers.Running {
			status, err = waiter.Wait(ctx, s.id)
		}
		if errors.Is(err, drivers.ErrNotFound) {
			g.lookAt(ctx, s) // unless it knows it already
			status, err = s.removedAs(), nil
		}
		if err != nil {
			return api.WaitResult{}, err
		}
		if status.State != drivers.Running && s.view().State != starting {
			return waitResult(status), nil
		}
		select {
		case <-ctx.Done():
			return api.WaitResult{}, ctx.Err()
		case <-time.After(waitEvery):
		}
	}
}

// removedAs is how a sandbox ended that its engine has no more. As long as nobody
// has noted that, because an operation is under way, it is still running.
func (s *sandbox) removedAs() drivers.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.status.State == drivers.Exited || s.status.State == drivers.Dead:
		return s.status
	case s.removed || s.gone:
		return drivers.Status{ID: s.id, State: drivers.Dead, Reason: "it was removed, and nothing is known of its end"}
	}
	return drivers.Status{ID: s.id, State: drivers.Running}
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

// client counts a connected stream: with --rm, a sandbox stays until its
// streams have ended. The end looks at the sandbox, which may have ended too.
func (g *Gateway) client(s *sandbox) (end func()) {
	s.set(func() { s.clients++ })
	return func() {
		s.set(func() { s.clients-- })
		g.background(func() { g.lookAt(context.Background(), s) })
	}
}

// rotate publishes a new token now.
func (g *Gateway) rotate(ctx context.Context, s *sandbox) error {
	if err := s.present(); err != nil {
		return err
	}
	if r := s.rec(); r.Lost != "" {
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s has no share: %s", r.Name, r.Lost),
			Hint: "openshell-vm start makes it anew, with a fresh token"}
	}
	return s.blame(g.deliver(ctx, s, false))
}

// present refuses what was removed while somebody waited for it.
func (s *sandbox) present() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
		return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("sandbox %s was removed", s.record.Name),
			Hint: "openshell-vm ps -a lists all"}
	case s.record.Desired == state.WantGone:
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s is being removed", s.record.Name),
			Hint: "openshell-vm ps -a shows it until it is gone, and why it is not"}
	}
	return nil
}

func (s *sandbox) isGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}
