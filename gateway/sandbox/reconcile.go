package sandbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
)

const (
	// UsualLook is how often an engine is asked while one of its sandboxes runs or is not
	// in its desired state. It is the default of Options.LookEvery.
	UsualLook = 2 * time.Second
	// idleLook is how often an engine is asked otherwise, if it has any sandboxes: a user
	// may have started one with the engine's own tools.
	idleLook = 30 * time.Second
	// lookDeadline bounds one answer of an engine.
	lookDeadline = 10 * time.Second
	// firstLook bounds how long the API waits for the engines at the beginning.
	firstLook = 500 * time.Millisecond
	// ReattachTime is how long after its start a gateway removes no sandbox because of
	// --rm. If the gateway before was killed, its clients connect again meanwhile and learn
	// how their sandbox ended.
	ReattachTime = 2 * time.Second
)

// watch asks the engine at once, to find what runs. Then it asks again every LookEvery, or
// every idleLook if nothing needs it, until ctx ends.
func (f *Fleet) watch(ctx context.Context, e *engine) {
	f.look(ctx, e)
	close(e.looked)
	ticker := time.NewTicker(f.opts.LookEvery)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if f.concerned(e) || time.Since(last) >= idleLook && f.has(e) {
			f.look(ctx, e)
			last = time.Now()
		}
	}
}

// has reports whether the engine has any sandboxes.
func (f *Fleet) has(e *engine) bool {
	return roster.Any(f.roster, func(s *Sandbox) bool { return s.engine == e })
}

// AwaitFirstLook returns once every engine has answered or failed, but after firstLook at
// the latest.
func (f *Fleet) AwaitFirstLook(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	for _, e := range f.engines {
		select {
		case <-e.looked:
		case <-ctx.Done():
		}
	}
}

// concerned reports whether any of the engine's sandboxes runs or is not in its desired
// state.
func (f *Fleet) concerned(e *engine) bool {
	return roster.Any(f.roster, func(s *Sandbox) bool {
		if s.engine != e {
			return false
		}
		s.Mu.Lock()
		defer s.Mu.Unlock()
		return s.needsLook()
	})
}

// look asks the engine for all its sandboxes, and brings each to its desired state. It
// adopts those that have no record.
func (f *Fleet) look(ctx context.Context, e *engine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f.lookLocked(ctx, e)
}

// lookLocked is look for callers who hold e.mu.
func (f *Fleet) lookLocked(ctx context.Context, e *engine) {
	bounded, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	asked := time.Now()
	list, err := e.driver.List(bounded)
	if ctx.Err() != nil {
		return
	}
	live := e.answered
	if e.answered = err == nil; err != nil {
		f.unreachable(e, err, live)
		return
	}
	known := make(map[string]bool, len(list))
	for _, status := range list {
		switch s := f.get(status.ID); {
		case s != nil && s.engine == e:
			known[s.ID] = true
			s.converge(ctx, status, true, live, asked)
		case f.roster.ByID(status.ID) != nil: // the id is that of another engine's sandbox, or of a share
			f.log.Debug("an object of another sandbox's id is left alone", "driver", e.driver.Name(), "sandbox", status.ID, "object", status.Object)
		default:
			f.adopt(ctx, e.driver, status)
			known[status.ID] = true
		}
	}
	for _, s := range f.All() {
		if !known[s.ID] && s.engine == e {
			f.missing(ctx, bounded, e, s, live, asked)
		}
	}
}

// missing asks the engine for a sandbox that was not in its list. The list may be
// incomplete, or the engine that was asked may not be the sandbox's. In neither case may a
// running sandbox lose its share.
func (f *Fleet) missing(ctx, bounded context.Context, e *engine, s *Sandbox, live bool, asked time.Time) {
	if s.Rec().Lost == "" {
		status, err := e.driver.Inspect(bounded, s.ID)
		if err == nil {
			s.converge(ctx, status, true, live, asked)
			return
		}
		if !errors.Is(err, drivers.ErrNotFound) {
			s.Set(func() { s.Problem, s.up = explain.Line(err), false })
			return
		}
	}
	s.converge(ctx, drivers.Status{}, false, live, asked)
}

// unreachable sets the engine's failure as the problem of all its sandboxes. It logs it
// once, and each time while one of them needs the engine.
func (f *Fleet) unreachable(e *engine, err error, wasReachable bool) {
	if wasReachable || f.concerned(e) {
		f.log.Warn("the engine does not answer", "driver", e.driver.Name(), "error", explain.Line(err))
	}
	for _, s := range f.All() {
		if s.engine == e {
			s.Set(func() {
				s.Problem, s.up = fmt.Sprintf("%s does not answer: %s", e.driver.Name(), explain.Line(err)), false
			})
		}
	}
}

// LookAt asks the engine for one sandbox and brings it to its desired state.
func (s *Sandbox) LookAt(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	asked := time.Now()
	status, err := s.engine.driver.Inspect(bounded, s.ID)
	if err == nil || errors.Is(err, drivers.ErrNotFound) {
		s.converge(ctx, status, err == nil, true, asked)
	}
}

// converge takes over the engine's report on a sandbox and begins the action that follows
// from it. If an operation is under way, it does neither; it only takes over the progress
// of a start.
func (s *Sandbox) converge(ctx context.Context, status drivers.Status, found, live bool, asked time.Time) {
	if !s.Op.TryLock() {
		s.Set(func() {
			if s.doing == starting && found && status.State == drivers.Created {
				s.startAt = status.Reason
			}
		})
		return
	}
	keepObject(s, status)
	next, ok := s.next(status, found, live, asked)
	if next == erase && s.Rec().Desired != state.WantGone && time.Since(s.fleet.opts.StartedAt) < ReattachTime {
		ok = false
	}
	if !ok || next == keep {
		s.Release()
		return
	}
	s.fleet.work.begin(func() {
		defer s.Release()
		s.act(context.WithoutCancel(ctx), next, status)
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

// next takes over the engine's report and returns the action that follows from it. now is
// false if the report is outdated, or if the action has to wait: for clients to disconnect,
// or for the pause after a failure.
func (s *Sandbox) next(status drivers.Status, found, live bool, asked time.Time) (next action, now bool) {
	s.Set(func() {
		if s.GoneLocked() || asked.Before(s.touched) {
			next = keep
			return
		}
		live = live && s.up
		s.up = status.State == drivers.Running
		s.take(status, found)
		next = decide(s.RecLocked(), status, found, live, s.fleet.bootID)
		waits := next == erase && s.clients > 0 && s.RecLocked().Desired != state.WantGone
		switch {
		case next == keep:
			s.Problem = ""
		case next == again && s.killed:
			next = settle
		case next == again:
			if s.pauses.begin(status, time.Now()) {
				s.wakeAt(s.pauses.until)
			}
			s.up = live // so that a later look judges alike
			waits = time.Now().Before(s.pauses.until)
		}
		now = !waits && s.retry.Due(time.Now())
	})
	return next, now
}

// take takes over a status. If the engine does not have the sandbox any more, the last
// status is kept if it tells how the sandbox ended. The caller holds Mu.
func (s *Sandbox) take(status drivers.Status, found bool) {
	switch {
	case found:
		s.became(status)
	case s.status.State == drivers.Exited || s.status.State == drivers.Dead:
		s.status.SeenGeneration = 0
	default:
		s.became(drivers.Status{ID: s.ID, State: drivers.Dead, Reason: lostReason(s.RecLocked())})
	}
}

// act does one action and records its failure. The caller holds Op.
func (s *Sandbox) act(ctx context.Context, next action, status drivers.Status) {
	log := s.fleet.log.With("sandbox", s.ID, "name", s.Rec().Name)
	log.Info("reconcile", "action", string(next), "state", string(status.State), "desired", s.Rec().Desired)
	var err error
	switch next {
	case erase:
		err = s.erase(ctx)
	case lose:
		err = s.lose(ctx)
	case halt:
		err = s.halt(ctx, DefaultGrace)
	case settle:
		err = s.Update(s.stopped)
	case resume:
		err = s.resume(ctx)
	case again:
		err = s.restart(ctx)
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
		if next == erase {
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

// resume starts a sandbox that should run. It waits until fewer than MaxResumes of the
// engine are under way. A stop or a forced removal cancels it and its wait.
func (s *Sandbox) resume(ctx context.Context) error {
	return s.resumeCounted(ctx, s.Rec().Start.Restarts)
}

// resumeCounted is resume for the restart policy, which counts.
func (s *Sandbox) resumeCounted(ctx context.Context, restarts int) error {
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
func (s *Sandbox) lose(ctx context.Context) error {
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

func lostReason(r *state.Record) string {
	return "it was removed from " + r.Driver + " without openshell-vm"
}

// FreshenDeadline bounds how long a user waits for the engines' current reports.
const FreshenDeadline = 2 * time.Second

// Freshen asks every engine that has sandboxes, so that ps shows their current states. For
// an engine that does not answer in time, the last report stands.
func (f *Fleet) Freshen(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, FreshenDeadline)
	defer cancel()
	var all sync.WaitGroup
	for _, e := range f.engines {
		if !f.has(e) {
			continue
		}
		all.Go(func() {
			if e.mu.TryLock() {
				defer e.mu.Unlock()
				f.lookLocked(ctx, e)
				return
			}
			select { // the engine is being asked already; wait only for its first answer
			case <-e.looked:
			case <-ctx.Done():
			}
		})
	}
	all.Wait()
}
