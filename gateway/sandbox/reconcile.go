package sandbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/roster"
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
			mender{s}.converge(ctx, status, true, live, asked)
		case f.roster.ByID(status.ID) != nil: // the id is that of another engine's sandbox, or of a share
			f.log.Debug("an object of another sandbox's id is left alone",
				"driver", e.driver.Name(), "sandbox", status.ID, "object", status.Object)
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
			mender{s}.converge(ctx, status, true, live, asked)
			return
		}
		if !errors.Is(err, drivers.ErrNotFound) {
			s.Set(func() { s.Problem, s.up = explain.Line(err), false })
			return
		}
	}
	mender{s}.converge(ctx, drivers.Status{}, false, live, asked)
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
		mender{s}.converge(ctx, status, err == nil, true, asked)
	}
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
