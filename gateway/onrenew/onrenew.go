// Package onrenew does what --on-renew asks for: once a sandbox has seen a new generation, a signal
// goes to its main process, or a command runs beside it. Both are the driver's, as for kill and exec.
//
// For each generation it is done at least once, with these exceptions. What is published while it
// is under way is one more time together. A failure of the command is told and not tried again. A
// sandbox that does not run misses nothing, for it starts with the newest generation; for that one
// it is not done. Nothing is written at a renewal, so a new gateway knows only with which
// generation a sandbox started: if it sees a later one, it is done once more.
//
// Nothing waits for it: no renewal, and no other sandbox. A sandbox for which nothing is to be
// done costs nothing.
package onrenew

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/internal/text"
	"openshell-vm/internal/vocab"
)

const (
	// Deadline bounds one command, and the tries while an engine does not answer.
	Deadline = 30 * time.Second
	// maxOutput is what a command may print in all. It is thrown away: it may hold a token.
	maxOutput  = 1 << 20
	firstPause = 500 * time.Millisecond // after an engine's failure; it doubles
)

// Calls does what is asked for, one at a time for each sandbox. It is safe for concurrent use.
type Calls struct {
	roster *roster.Roster
	failed func()
	due    *schedule.Schedule

	mu   sync.Mutex
	last map[string]*call // by sandbox
}

// call is what is known of a sandbox's calls.
type call struct {
	seen uint64 // the newest generation that it saw
	done uint64 // the newest that it was told of, by this gateway
	api.OnRenewState
}

// New makes the calls of a roster's sandboxes. failed is called after each failure.
func New(r *roster.Roster, failed func()) *Calls {
	c := &Calls{roster: r, failed: failed, last: map[string]*call{}}
	c.due = schedule.New(c.run)
	return c
}

// Run does what is due, until ctx ends. A command that runs then is killed: the next gateway does it
// again.
func (c *Calls) Run(ctx context.Context) { c.due.Serve(ctx) }

// Saw is called when a sandbox has seen a generation, at least once for each that it saw last.
func (c *Calls) Saw(box *sandbox.Sandbox, generation uint64) {
	r := box.Rec()
	if r.Request.OnRenew.IsZero() || generation <= r.Start.Generation {
		return
	}
	c.mu.Lock()
	one := c.last[box.ID]
	if one == nil {
		one = &call{}
		c.last[box.ID] = one
	}
	one.seen = max(one.seen, generation)
	due := one.seen > one.done
	c.mu.Unlock()
	if due {
		now := time.Now()
		c.due.Set(box.ID, now, now)
	}
}

// Of returns what is asked for a sandbox, and how it went last; nil if nothing is.
func (c *Calls) Of(id string, asked api.OnRenew) *api.OnRenewState {
	if asked.IsZero() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.last[id]; one != nil {
		shown := one.OnRenewState
		shown.OnRenew = asked
		return &shown
	}
	return &api.OnRenewState{OnRenew: asked}
}

// Tidy forgets the sandboxes that are gone.
func (c *Calls) Tidy() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.last {
		if c.roster.ByID(id) == nil {
			delete(c.last, id)
		}
	}
}

// run is called by the schedule, for one sandbox never twice at a time.
func (c *Calls) run(ctx context.Context, id string) {
	box := c.box(id)
	if box == nil {
		return
	}
	c.mu.Lock()
	one := c.last[id] // Tidy may forget it while the command runs
	if one == nil {
		c.mu.Unlock()
		return
	}
	generation, done := one.seen, one.done
	c.mu.Unlock()
	if generation <= max(done, box.Rec().Start.Generation) {
		return
	}
	began := time.Now()
	err := try(ctx, box.Driver(), id, box.Rec().Request.OnRenew)
	if ctx.Err() != nil {
		return // the gateway ends
	}
	c.mu.Lock()
	one.done = generation
	if errors.Is(err, drivers.ErrNotRunning) { // it starts with a newer one
		c.mu.Unlock()
		return
	}
	one.Generation, one.At, one.Took, one.Problem = generation, time.Now(), max(time.Since(began), time.Microsecond), ""
	if err != nil {
		one.Problem = text.Line(explain.Line(err))
	}
	problem := one.Problem
	c.mu.Unlock()
	box.Tell(api.EventOnRenew, "generation", strconv.FormatUint(generation, 10), "reason", problem)
	if err != nil {
		c.failed()
		c.roster.Log.Warn("a sandbox could not be told of a new generation", "sandbox", id, "name", box.Rec().Name,
			"generation", generation, "error", problem)
	}
}

func (c *Calls) box(id string) *sandbox.Sandbox {
	if it := c.roster.ByID(id); it != nil {
		box, _ := it.Owner.(*sandbox.Sandbox)
		return box
	}
	return nil
}

// try does it, and again after a while if the engine failed.
func try(ctx context.Context, driver drivers.Driver, id string, asked vocab.OnRenew) error {
	bounded, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	for pause := firstPause; ; pause *= 2 {
		err := once(bounded, driver, id, asked)
		var ended *endedError
		if err == nil || errors.Is(err, drivers.ErrNotRunning) || errors.As(err, &ended) || bounded.Err() != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-bounded.Done():
			return err
		}
	}
}

// endedError is a failure that another try does not mend.
type endedError struct{ reason string }

func (e *endedError) Error() string { return e.reason }

// once sends the signal, or runs the command to its end.
func once(ctx context.Context, driver drivers.Driver, id string, asked vocab.OnRenew) error {
	if asked.Signal != "" {
		number, ok := vocab.Signal(asked.Signal)
		signaler, can := driver.(drivers.Signaler)
		if !ok || !can {
			return &endedError{"its driver can't send " + asked.Signal}
		}
		return signaler.Signal(ctx, id, number)
	}
	execer, ok := driver.(drivers.Execer)
	if !ok {
		return &endedError{"its driver can't run further commands"}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sink := &sink{left: maxOutput, full: func() { cancel(errFlood) }}
	code, err := execer.Exec(ctx, id, drivers.Process{Args: asked.Command}, drivers.Streams{Stdout: sink, Stderr: sink})
	switch cause := context.Cause(ctx); {
	case err == nil && code == 0:
		return nil
	case errors.Is(cause, errFlood):
		return &endedError{errFlood.Error()}
	case errors.Is(cause, context.DeadlineExceeded):
		return &endedError{fmt.Sprintf("its command did not end within %v, and was killed", Deadline)}
	case err != nil:
		return err
	}
	return &endedError{exited(code)}
}

// exited words an exit code as container tools have it.
func exited(code int) string {
	switch code {
	case 126:
		return "its command can't be executed (126)"
	case 127:
		return "its command is not found inside (127)"
	}
	return fmt.Sprintf("its command exited with %d", code)
}

var errFlood = fmt.Errorf("its command printed more than %d KiB, and was killed", maxOutput>>10)

// sink throws output away. When there was too much of it, it calls full.
type sink struct {
	full func()

	mu   sync.Mutex
	left int
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left -= len(p); s.left < 0 {
		s.full()
	}
	return len(p), nil
}
