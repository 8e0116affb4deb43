package sandbox

import (
	"context"
	"errors"
	"strconv"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox/decide"
	"openshell-vm/gateway/sandbox/ports"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/killpoint"
)

// DefaultGrace is the usual time between asking a workload to end and killing it.
const DefaultGrace = 10 * time.Second

const (
	startDeadline = 3 * time.Minute // of a start; longer if a LongStarter needs longer

	starting, stopping = api.StateStarting, api.StateStopping // the values of Sandbox.doing
)

// Start brings a sandbox up for a user. If it runs already, Start leaves it as it is.
func (s *Sandbox) Start(ctx context.Context) error {
	if err := s.Acquire(ctx, s.startDeadline()+roster.EndDeadline); err != nil {
		return err
	}
	defer s.Release()
	if err := ready(s); err != nil {
		return err
	}
	// If the caller goes away, the start goes on: no sandbox is left half-started.
	ctx, done := s.Op.Cancellable(context.WithoutCancel(ctx), starting)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, s.startDeadline())
	defer cancel()
	if status, err := s.engine.driver.Inspect(ctx, s.ID); err == nil && status.State == drivers.Running {
		s.observe(status, time.Now())
		if err := s.openDoor(); err != nil {
			return err
		}
		if s.Rec().Desired == state.WantRunning {
			return nil
		}
		return s.Update(func(r *state.Record) { r.Want(state.WantRunning) })
	}
	err := s.bringUp(ctx, 0)
	if err == nil {
		return nil
	}
	// The user learns of the failure, so the reconciler must not try again by itself.
	if undo := s.Update(func(r *state.Record) { r.Want(state.WantStopped) }); undo != nil {
		s.fleet.log.Warn("a failed start stays desired", "sandbox", s.ID, "error", explain.Line(undo))
	}
	_ = s.refresh(context.WithoutCancel(ctx)) // else the next look tells
	return roster.Ended(ctx, err)
}

// ready returns an error if the sandbox is removed or its driver is absent.
func ready(s *Sandbox) error {
	if err := s.Present(); err != nil {
		return err
	}
	return absence(s)
}

// startDeadline bounds one start of a sandbox.
func (s *Sandbox) startDeadline() time.Duration {
	if d, ok := s.engine.driver.(drivers.LongStarter); ok {
		return max(startDeadline, d.LongestStart())
	}
	return startDeadline
}

// bringUp starts or resumes a sandbox. The caller holds Op. If the gateway is killed
// meanwhile, the next one finds the wish to run in the record and does it all again. restarts
// is how often the restart policy has started it.
func (s *Sandbox) bringUp(ctx context.Context, restarts int) error {
	s.Op.MustBeHeld()
	defer s.begin(starting)()
	ctx, cancel := context.WithTimeout(ctx, s.startDeadline())
	defer cancel()
	if err := ports.Await(ctx, s.Rec().Driver, s.Rec().Request.Ports, s.fleet.portTaken(s)); err != nil {
		return err
	}
	if s.Rec().Lost != "" {
		if err := s.remake(ctx); err != nil {
			return err
		}
	}
	// A share on tmpfs did not survive the host's last boot. MakeShare leaves an existing
	// share as it is.
	if err := s.fleet.roster.MakeShare(s.Rec()); err != nil {
		return err
	}
	mounted, err := state.InodeOf(s.Lease.Share().AuthDir())
	if err != nil {
		return err
	}
	counted := restarts > s.Rec().Start.Restarts
	err = s.Update(func(r *state.Record) {
		r.Want(state.WantRunning)
		r.Start = state.StartRecord{BootID: s.fleet.bootID, Share: mounted, Restarts: restarts}
	})
	if err != nil {
		return err
	}
	if err := s.openDoor(); err != nil {
		return err
	}
	if err := s.fleet.opts.Shares.Freshen(ctx, s.Rec().Request.Shares); err != nil {
		return err
	}
	killpoint.At("record-start")
	if err := s.Deliver(ctx, s.startFresh); err != nil {
		return err
	}
	s.Set(func() {
		s.up, s.ran, s.killed, s.pauses.Until = true, true, false, time.Time{}
		if restarts == 0 {
			s.pauses = decide.Pauses{}
		}
	})
	if counted {
		s.Tell(api.EventRestarted, "restarts", strconv.Itoa(restarts))
	} else {
		s.Tell(api.EventStarted)
	}
	_ = s.refresh(ctx) // else the next look tells
	return nil
}

// startFresh starts the sandbox in its engine, after a publish. It records the generation if
// something is to be done at later ones: what starts reads this one.
func (s *Sandbox) startFresh(ctx context.Context) error {
	if token, _ := s.Lease.Renewal(); !s.Rec().Request.OnRenew.IsZero() {
		if err := s.Update(func(r *state.Record) { r.Start.Generation = token.Generation }); err != nil {
			s.fleet.log.Warn("a sandbox will be told of the generation that it starts with", "sandbox", s.ID, "error", explain.Line(err))
		}
	}
	return s.engine.driver.Start(ctx, s.ID)
}

// stopped records that a sandbox should not run, by its user's wish or because it ended.
func (s *Sandbox) stopped(r *state.Record) {
	r.Want(state.WantStopped)
	if r.Start.BootID != "" {
		r.Start.BootID = s.fleet.bootID
	}
}

// remake makes a lost sandbox anew in its engine, from its record.
func (s *Sandbox) remake(ctx context.Context) error {
	r := *s.Rec()
	if err := s.fleet.roster.MakeShare(&r); err != nil {
		return err
	}
	driver := s.engine.driver
	r.Warnings = nil
	if keeper, ok := driver.(drivers.Keeper); ok {
		keeper.Keep(r.ID, "") // the old object is gone
	}
	if placed, ok := driver.(drivers.Placed); ok {
		placed.KeepPlace(r.ID, "")
	}
	spec, err := s.fleet.resolve(ctx, driver, &r)
	if err != nil {
		return err
	}
	if err := driver.Create(ctx, spec); err != nil && !errors.Is(err, drivers.ErrExists) {
		return err
	}
	object, engine := objectOf(ctx, driver, r.ID), keepPlace(driver, r.ID)
	err = s.Update(func(r *state.Record) { r.Lost, r.Object, r.Engine = "", object, engine })
	s.Set(func() { s.Removed = err != nil })
	return err
}

// refresh takes over the engine's report on the sandbox. After an error all is as it was.
// The caller holds Op.
func (s *Sandbox) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	asked := time.Now()
	status, err := s.engine.driver.Inspect(ctx, s.ID)
	if err == nil {
		s.observe(status, asked)
	}
	return err
}

// Stop ends the workload and keeps the sandbox. A start that is under way is cancelled.
func (s *Sandbox) Stop(ctx context.Context, grace time.Duration) error {
	if err := s.AcquireUrgently(ctx, starting); err != nil {
		return err
	}
	defer s.Release()
	if err := ready(s); err != nil {
		return err
	}
	if err := s.Update(s.stopped); err != nil {
		return err
	}
	ctx, done := s.Op.Cancellable(context.WithoutCancel(ctx), stopping)
	defer done()
	err := s.halt(ctx, grace)
	if cause := roster.Ended(ctx, err); err == nil || cause != err {
		return cause
	}
	e := *explain.Error(err) // the wish stands on disk
	e.Hint = "the gateway goes on trying to stop it; " + e.Hint
	return &e
}

// halt stops the sandbox in the engine. The caller holds Op.
func (s *Sandbox) halt(ctx context.Context, grace time.Duration) error {
	s.Op.MustBeHeld()
	defer s.begin(stopping)()
	ctx, cancel := context.WithTimeout(ctx, grace+roster.EndDeadline)
	defer cancel()
	if err := s.engine.driver.Stop(ctx, s.ID, grace); err != nil {
		return err
	}
	s.Set(func() { s.up, s.Problem = false, "" })
	_ = s.refresh(ctx) // else the next look tells
	return nil
}
