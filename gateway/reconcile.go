package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/state"
)

const (
	// usualLook is how often an engine is asked while one of its sandboxes runs
	// or is not where it should be, unless Options.LookEvery says it.
	usualLook = 2 * time.Second
	// idleLook is how often it is asked otherwise, as long as it has any: a user
	// may have started one with the engine's own tools.
	idleLook = 30 * time.Second
	// lookDeadline bounds one answer of an engine.
	lookDeadline = 10 * time.Second
	// firstLook bounds how long the API waits for the engines at the beginning.
	firstLook = 500 * time.Millisecond
	// reattachTime is for clients of a gateway that was killed: they come back to
	// learn how a sandbox ended that is to be removed with its end.
	reattachTime = 2 * time.Second
)

// reconcile moves every sandbox to its desired state, each engine on its own:
// one that hangs delays no other.
func (g *Gateway) reconcile(ctx context.Context) error {
	var watchers sync.WaitGroup
	for _, e := range g.engines {
		watchers.Go(func() { g.watch(ctx, e) })
	}
	watchers.Wait()
	return ctx.Err()
}

// watch looks at once, to find what runs, and then as long as there is a need.
func (g *Gateway) watch(ctx context.Context, e *engine) {
	g.look(ctx, e)
	close(e.looked)
	ticker := time.NewTicker(g.opts.LookEvery)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if g.concerned(e) || time.Since(last) >= idleLook && g.has(e) {
			g.look(ctx, e)
			last = time.Now()
		}
	}
}

// has says whether any sandbox is the engine's.
func (g *Gateway) has(e *engine) bool {
	return slices.ContainsFunc(g.all(), func(s *sandbox) bool { return s.rec().Driver == e.driver.Name() })
}

// awaitFirstLook returns once every engine has answered, or was given the time to.
func (g *Gateway) awaitFirstLook(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	for _, e := range g.engines {
		select {
		case <-e.looked:
		case <-ctx.Done():
		}
	}
}

// concerned says whether any of the engine's sandboxes runs, or should run or be gone.
func (g *Gateway) concerned(e *engine) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, s := range g.sandboxes {
		s.mu.Lock()
		concerned := s.record.Driver == e.driver.Name() && s.needsLook()
		s.mu.Unlock()
		if concerned {
			return true
		}
	}
	return false
}

// needsLook: the caller holds s.mu.
func (s *sandbox) needsLook() bool {
	ended := s.status.State == drivers.Exited || s.status.State == drivers.Dead
	return s.record.Desired != state.WantStopped || s.status.State == drivers.Running || !s.record.Made ||
		ended && s.record.Request.AutoRemove
}

// look asks the engine for all its sandboxes and brings each to where it
// should be. Those that nobody knows are taken in.
func (g *Gateway) look(ctx context.Context, e *engine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	g.lookLocked(ctx, e)
}

// lookLocked: the caller holds e.mu.
func (g *Gateway) lookLocked(ctx context.Context, e *engine) {
	bounded, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	asked := time.Now()
	list, err := e.driver.List(bounded)
	if ctx.Err() != nil {
		return
	}
	live := e.answered
	if e.answered = err == nil; err != nil {
		g.unreachable(e, err, live)
		return
	}
	known := make(map[string]bool, len(list))
	for _, status := range list {
		switch s := g.byID(status.ID); {
		case s == nil:
			g.adopt(ctx, e.driver, status)
			known[status.ID] = true
		case s.rec().Driver == e.driver.Name():
			known[s.id] = true
			g.converge(ctx, s, status, true, live, asked)
		default: // it says that it is another engine's sandbox
			g.log.Debug("an object of another sandbox's id is left alone", "driver", e.driver.Name(), "sandbox", s.id, "object", status.Object)
		}
	}
	for _, s := range g.all() {
		if !known[s.id] && s.rec().Driver == e.driver.Name() {
			g.missing(ctx, bounded, e, s, live, asked)
		}
	}
}

// missing asks for a sandbox that the engine's list lacked. A list may be
// incomplete, and the engine that was asked may be another one than the sandbox's:
// what runs must not lose its share by it.
func (g *Gateway) missing(ctx, bounded context.Context, e *engine, s *sandbox, live bool, asked time.Time) {
	if s.rec().Lost == "" {
		status, err := e.driver.Inspect(bounded, s.id)
		if err == nil {
			g.converge(ctx, s, status, true, live, asked)
			return
		}
		if !errors.Is(err, drivers.ErrNotFound) {
			s.set(func() { s.problem, s.up = oneLine(err), false })
			return
		}
	}
	g.converge(ctx, s, drivers.Status{}, false, live, asked)
}

// unreachable shows an engine's failure at those of its sandboxes that need it.
func (g *Gateway) unreachable(e *engine, err error, wasReachable bool) {
	if wasReachable || g.concerned(e) {
		g.log.Warn("the engine does not answer", "driver", e.driver.Name(), "error", oneLine(err))
	}
	for _, s := range g.all() {
		if s.rec().Driver == e.driver.Name() {
			s.set(func() { s.problem, s.up = fmt.Sprintf("%s does not answer: %s", e.driver.Name(), oneLine(err)), false })
		}
	}
}

// lookAt asks the engine for one sandbox and brings it to where it should be.
func (g *Gateway) lookAt(ctx context.Context, s *sandbox) {
	driver := g.drivers[s.rec().Driver]
	if driver == nil {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	asked := time.Now()
	status, err := driver.Inspect(bounded, s.id)
	if err == nil || errors.Is(err, drivers.ErrNotFound) {
		g.converge(ctx, s, status, err == nil, true, asked)
	}
}

// converge takes over what the engine said of a sandbox and begins what follows
// from it. A sandbox with an operation under way is left to that; only what a
// start is at is taken over.
func (g *Gateway) converge(ctx context.Context, s *sandbox, status drivers.Status, found, live bool, asked time.Time) {
	if !s.op.tryLock() {
		s.set(func() {
			if s.doing == starting && found && status.State == drivers.Created {
				s.startAt = status.Reason
			}
		})
		return
	}
	g.keepObject(s, status)
	next, ok := s.next(status, found, live, asked, g.bootID)
	if next == erase && s.rec().Desired != state.WantGone && time.Since(g.startedAt) < reattachTime {
		ok = false
	}
	if !ok || next == keep {
		g.release(s)
		return
	}
	g.background(func() {
		defer g.release(s)
		g.act(context.WithoutCancel(ctx), s, next, status)
	})
}

// keepObject writes down the engine's own id of a sandbox, and the engine's place,
// where an older gateway left them out of the record, or the engine has moved. The caller holds s.op.
func (g *Gateway) keepObject(s *sandbox, status drivers.Status) {
	r := s.rec()
	if status.Object == "" || r.Lost != "" {
		return
	}
	engine := keepPlace(g.drivers[r.Driver], s.id)
	if r.Object != "" && r.Engine == engine {
		return
	}
	if err := g.update(s, func(r *state.Record) { r.Object, r.Engine = status.Object, engine }); err != nil {
		g.log.Warn("the engine's id of a sandbox is not written down yet", "sandbox", s.id, "error", oneLine(err))
	}
}

// next is what to do; false means that the report is outdated or it is not time yet.
func (s *sandbox) next(status drivers.Status, found, live bool, asked time.Time, bootID string) (action, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.plan()
	if s.gone || asked.Before(s.touched) {
		return keep, false
	}
	live = live && s.up
	s.up = status.State == drivers.Running
	switch {
	case found:
		s.status = status
	case s.status.State != drivers.Exited && s.status.State != drivers.Dead: // how it ended before stays known
		s.status = drivers.Status{ID: s.id, State: drivers.Dead, Reason: lostReason(s.record)}
	}
	s.seen = status.SeenGeneration
	next := decide(s.record, status, found, live, bootID)
	if next == keep {
		s.problem = ""
	}
	waits := next == erase && s.clients > 0 && s.record.Desired != state.WantGone
	return next, !waits && s.retry.Due(time.Now())
}

// act does one action. The caller holds s.op.
func (g *Gateway) act(ctx context.Context, s *sandbox, next action, status drivers.Status) {
	log := g.log.With("sandbox", s.id, "name", s.rec().Name)
	log.Info("reconcile", "action", string(next), "state", string(status.State), "desired", s.rec().Desired)
	var err error
	switch next {
	case erase:
		err = g.erase(ctx, s)
	case lose:
		err = g.lose(ctx, s)
	case halt:
		err = g.halt(ctx, s, defaultGrace)
	case settle:
		err = g.update(s, func(r *state.Record) { r.Want(state.WantStopped) })
	case resume:
		err = g.resume(ctx, s)
	}
	if errors.Is(err, errInterrupted) {
		return // by a user's operation, which waits for its turn
	}
	s.set(func() {
		if err == nil {
			s.problem, s.retry = "", schedule.Backoff{}
			return
		}
		s.problem = fmt.Sprintf("%s failed: %s", next, oneLine(err))
		if next == erase {
			s.problem = "it can't be removed yet: " + oneLine(err)
		}
		s.retry.Failed(time.Now())
	})
	if err != nil {
		log.Warn("reconcile failed", "action", string(next), "error", oneLine(err))
	}
}

// errInterrupted ends a resume that a user's operation cancelled.
var errInterrupted = errors.New("interrupted by an operation of the user's")

// resume starts what should run, in one of its engine's places. A stop or a
// forced removal may cancel it, and its wait for a place.
func (g *Gateway) resume(ctx context.Context, s *sandbox) error {
	ctx, done := s.op.cancellable(ctx, starting)
	defer done()
	places := g.engines[s.rec().Driver].resumes
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		return errInterrupted
	}
	err := g.bringUp(ctx, s)
	<-places
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// lose notes that the engine has a sandbox no more: removed behind the
// gateway's back. Its share goes, its record stays for ps; start makes it anew.
// That it was missing in a list is not enough: what runs must not lose its share.
func (g *Gateway) lose(ctx context.Context, s *sandbox) error {
	bounded, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	if _, err := g.drivers[s.rec().Driver].Inspect(bounded, s.id); !errors.Is(err, drivers.ErrNotFound) {
		return err // the next look decides
	}
	s.set(s.wasRemoved)
	if err := s.share.Remove(bounded); err != nil {
		return err
	}
	err := g.update(s, func(r *state.Record) {
		r.Want(state.WantStopped)
		r.Lost = lostReason(r)
	})
	if err != nil {
		return err
	}
	s.set(func() { s.token.Ended(); s.seen = 0 })
	return nil
}

func lostReason(r *state.Record) string {
	return "it was removed from " + r.Driver + " without openshell-vm"
}

// freshenDeadline bounds how long a user waits for the engines' newest word.
const freshenDeadline = 2 * time.Second

// freshen asks every engine that has sandboxes, so that ps shows what is so now.
// One that does not answer in time is shown as it was last.
func (g *Gateway) freshen(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, freshenDeadline)
	defer cancel()
	var all sync.WaitGroup
	for _, e := range g.engines {
		if !g.has(e) {
			continue
		}
		all.Go(func() {
			if e.mu.TryLock() {
				defer e.mu.Unlock()
				g.lookLocked(ctx, e)
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
