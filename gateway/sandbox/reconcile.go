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
	// UsualLook is how often an engine is asked while one of its sandboxes runs
	// or is not where it should be, unless Options.LookEvery says it.
	UsualLook = 2 * time.Second
	// idleLook is how often it is asked otherwise, as long as it has any: a user
	// may have started one with the engine's own tools.
	idleLook = 30 * time.Second
	// lookDeadline bounds one answer of an engine.
	lookDeadline = 10 * time.Second
	// firstLook bounds how long the API waits for the engines at the beginning.
	firstLook = 500 * time.Millisecond
	// ReattachTime is for clients of a gateway that was killed: they come back to
	// learn how a sandbox ended that is to be removed with its end.
	ReattachTime = 2 * time.Second
)

// watch looks at once, to find what runs, and then as long as there is a need.
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

// has says whether any sandbox is the engine's.
func (f *Fleet) has(e *engine) bool {
	return roster.Any(f.roster, func(s *Sandbox) bool { return s.engine == e })
}

// AwaitFirstLook returns once every engine has answered, or was given the time to.
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

// concerned says whether any of the engine's sandboxes runs, or should run or be gone.
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

// look asks the engine for all its sandboxes and brings each to where it
// should be. Those that nobody knows are taken in.
func (f *Fleet) look(ctx context.Context, e *engine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f.lookLocked(ctx, e)
}

// lookLocked: the caller holds e.mu.
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
		case f.roster.ByID(status.ID) != nil: // it says that it is another engine's sandbox, or a share
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

// missing asks for a sandbox that the engine's list lacked. A list may be
// incomplete, and the engine that was asked may be another one than the sandbox's:
// what runs must not lose its share by it.
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

// unreachable shows an engine's failure at those of its sandboxes that need it.
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

// LookAt asks the engine for one sandbox and brings it to where it should be.
func (s *Sandbox) LookAt(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	asked := time.Now()
	status, err := s.engine.driver.Inspect(bounded, s.ID)
	if err == nil || errors.Is(err, drivers.ErrNotFound) {
		s.converge(ctx, status, err == nil, true, asked)
	}
}

// converge takes over what the engine said of a sandbox and begins what follows
// from it. A sandbox with an operation under way is left to that; only what a
// start is at is taken over.
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

// keepObject writes down the engine's own id of a sandbox, and the engine's place,
// where an older gateway left them out of the record, or the engine has moved. The caller holds Op.
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

// next takes over what the engine said, and is what to do; false means that the report is
// outdated or it is not time yet.
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
		if next == keep {
			s.Problem = ""
		}
		waits := next == erase && s.clients > 0 && s.RecLocked().Desired != state.WantGone
		now = !waits && s.retry.Due(time.Now())
	})
	return next, now
}

// take takes over a status. How a sandbox ended stays known when its engine has it no more.
// The caller holds Mu.
func (s *Sandbox) take(status drivers.Status, found bool) {
	switch {
	case found:
		s.status = status
	case s.status.State == drivers.Exited || s.status.State == drivers.Dead:
		s.status.SeenGeneration = 0
	default:
		s.status = drivers.Status{ID: s.ID, State: drivers.Dead, Reason: lostReason(s.RecLocked())}
	}
}

// act does one action. The caller holds Op.
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
		err = s.Update(func(r *state.Record) { r.Want(state.WantStopped) })
	case resume:
		err = s.resume(ctx)
	}
	if errors.Is(err, errInterrupted) {
		return // by a user's operation, which waits for its turn
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

// errInterrupted ends a resume that a user's operation cancelled.
var errInterrupted = errors.New("interrupted by an operation of the user's")

// resume starts what should run, in one of its engine's places. A stop or a
// forced removal may cancel it, and its wait for a place.
func (s *Sandbox) resume(ctx context.Context) error {
	ctx, done := s.Op.Cancellable(ctx, starting)
	defer done()
	places := s.engine.resumes
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		return errInterrupted
	}
	err := s.bringUp(ctx)
	<-places
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// lose notes that the engine has a sandbox no more: removed behind the
// gateway's back. Its share goes, its record stays for ps; start makes it anew.
// That it was missing in a list is not enough: what runs must not lose its share.
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

// FreshenDeadline bounds how long a user waits for the engines' newest word.
const FreshenDeadline = 2 * time.Second

// Freshen asks every engine that has sandboxes, so that ps shows what is so now.
// One that does not answer in time is shown as it was last.
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
			select { // somebody asks it already; until its first answer nothing is known
			case <-e.looked:
			case <-ctx.Done():
			}
		})
	}
	all.Wait()
}
