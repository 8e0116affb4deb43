package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/sandbox/decide"
	"openshell-vm/gateway/state"
)

// mender brings one sandbox to its desired state.
type mender struct{ *Sandbox }

// converge takes over the engine's report on a sandbox and begins the action that follows
// from it. If an operation is under way, it does neither; it only takes over the progress
// of a start.
func (s mender) converge(ctx context.Context, status drivers.Status, found, live bool, asked time.Time) {
	if !s.Op.TryLock() {
		s.Set(func() {
			if s.doing == starting && found && status.State == drivers.Created {
				s.startAt = status.Reason
			}
		})
		return
	}
	keepObject(s.Sandbox, status)
	next, ok := s.next(status, found, live, asked)
	if next == decide.Erase && s.Rec().Desired != state.WantGone && time.Since(s.fleet.opts.StartedAt) < ReattachTime {
		ok = false
	}
	if !ok || next == decide.Keep {
		s.Release()
		return
	}
	s.fleet.work.begin(func() {
		defer s.Release()
		s.act(context.WithoutCancel(ctx), next, status)
	})
}

// next takes over the engine's report and returns the action that follows from it. now is
// false if the report is outdated, or if the action has to wait: for clients to disconnect,
// or for the pause after a failure.
func (s mender) next(status drivers.Status, found, live bool, asked time.Time) (next decide.Action, now bool) {
	s.Set(func() {
		if s.GoneLocked() || asked.Before(s.touched) {
			next = decide.Keep
			return
		}
		live = live && s.up
		s.up = status.State == drivers.Running
		s.take(status, found, s.RecLocked())
		next = decide.Next(s.RecLocked(), status, found, live, s.fleet.bootID)
		waits := next == decide.Erase && s.clients > 0 && s.RecLocked().Desired != state.WantGone
		switch {
		case next == decide.Keep:
			s.Problem = ""
		case next == decide.Again && s.killed:
			next = decide.Settle
		case next == decide.Again:
			if s.pauses.Begin(status, time.Now()) {
				s.wakeAt(s.pauses.Until)
			}
			s.up = live // so that a later look judges alike
			waits = time.Now().Before(s.pauses.Until)
		}
		now = !waits && s.retry.Due(time.Now())
	})
	return next, now
}

// act does one action and records its failure. The caller holds Op.
func (s mender) act(ctx context.Context, next decide.Action, status drivers.Status) {
	log := s.fleet.log.With("sandbox", s.ID, "name", s.Rec().Name)
	log.Info("reconcile", "action", string(next), "state", string(status.State), "desired", s.Rec().Desired)
	var err error
	switch next {
	case decide.Erase:
		err = s.erase(ctx)
	case decide.Lose:
		err = s.lose(ctx)
	case decide.Halt:
		err = s.halt(ctx, DefaultGrace)
	case decide.Settle:
		err = s.Update(s.stopped)
	case decide.Resume:
		err = s.resume(ctx, s.Rec().Start.Restarts)
	case decide.Again:
		err = s.resume(ctx, s.Rec().Start.Restarts+1)
	}
	if errors.Is(err, errInterrupted) {
		return // a user's operation cancelled it and waits for Op
	}
	s.Set(func() {
		if err == nil {
			s.Problem, s.retry = "", schedule.Backoff{}
			return
		}
		s.Problem = fmt.Sprintf("%s failed: %s", next, explain.Line(err))
		if next == decide.Erase {
			s.Problem = "it can't be removed yet: " + explain.Line(err)
		}
		s.retry.Failed(time.Now())
	})
	if err != nil {
		log.Warn("reconcile failed", "action", string(next), "error", explain.Line(err))
	}
}

// errInterrupted is the error of a resume that a user's operation cancelled.
var errInterrupted = errors.New("interrupted by an operation of the user's")

// resume starts a sandbox that should run; restarts is how often its restart policy has done
// so by then. It waits until fewer than MaxResumes of the engine are under way. A stop or a
// forced removal cancels it and its wait.
func (s mender) resume(ctx context.Context, restarts int) error {
	ctx, done := s.Op.Cancellable(ctx, starting)
	defer done()
	places := s.engine.resumes
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		return errInterrupted
	}
	err := s.bringUp(ctx, restarts)
	<-places
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// lose records that somebody removed a sandbox with the engine's own tools. It removes the
// share and keeps the record, which ps shows; start makes the sandbox anew. It asks the
// engine once more before, because a running sandbox must not lose its share.
func (s mender) lose(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	if _, err := s.engine.driver.Inspect(bounded, s.ID); !errors.Is(err, drivers.ErrNotFound) {
		return err // the next look decides
	}
	s.Set(s.wasRemoved)
	if err := s.Lease.Share().Remove(bounded); err != nil {
		return err
	}
	err := s.Update(func(r *state.Record) {
		r.Want(state.WantStopped)
		r.Lost = lostReason(r)
	})
	if err != nil {
		return err
	}
	s.Lease.Lost()
	s.Set(func() { s.status.SeenGeneration = 0 })
	return nil
}

// wakeAt looks at the sandbox when its pause ends: the next look may be two seconds away.
func (s mender) wakeAt(end time.Time) {
	time.AfterFunc(time.Until(end), func() {
		s.fleet.work.begin(func() { s.LookAt(context.Background()) })
	})
}

// keepObject records the engine's own id of a sandbox and the engine's place. It does so if
// an older gateway left the id out of the record, or if the place has changed. The caller
// holds Op.
func keepObject(s *Sandbox, status drivers.Status) {
	r := s.Rec()
	if status.Object == "" || r.Lost != "" {
		return
	}
	engine := keepPlace(s.engine.driver, s.ID)
	if r.Object != "" && r.Engine == engine {
		return
	}
	if err := s.Update(func(r *state.Record) { r.Object, r.Engine = status.Object, engine }); err != nil {
		s.fleet.log.Warn("the engine's id of a sandbox is not written down yet", "sandbox", s.ID, "error", explain.Line(err))
	}
}

func lostReason(r *state.Record) string {
	return "it was removed from " + r.Driver + " without openshell-vm"
}
