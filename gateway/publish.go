package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/state"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// publishDeadline bounds one publish: a share whose lock is held must not stay
// without a visible failure.
const publishDeadline = 5 * time.Second

// slowPublish is what the log tells of a publish that worked. It is mostly the disk's
// doing: a publish waits until the disk has the token, which no deadline cuts short.
const slowPublish = 2 * time.Second

// generationStep is how far a record's GenerationLimit is advanced at a time.
const generationStep = 1000

// deliver is the data path: mint, publish, start. Each renewal takes it without
// the last step, each start and each resume with it, so there is no way to a
// running sandbox that has no fresh token in its share.
//
//  1. Under the share's lock, where the new generation's number is known: have all
//     sources give it their files. The token is the first, and carries the number.
//  2. Publish: all of them become visible at once, by one rename.
//     The publish counts only if the sandbox has this very directory mounted.
//  3. Note the result and when to come again: at the renewal time, or soon
//     after a failure. The last good token stays where it is.
//  4. Start, if asked to: from here on the sandbox reads the token.
//
// For a start the caller holds s.op.
func (g *Gateway) deliver(ctx context.Context, s *sandbox, start bool) error {
	record := s.rec()
	token, content := g.content(s)
	build := func(generation uint64) ([]share.File, error) {
		if err := g.reserve(s, generation); err != nil {
			return nil, err
		}
		return content.Build(generation) // 1
	}
	bounded, cancel := context.WithTimeout(ctx, publishDeadline)
	defer cancel()
	began := time.Now()
	published, err := g.publish(bounded, s, build) // 2
	g.pruneAt(s, published.PruneAt)
	warning := published.Warning
	if err != nil && published.Changed && content.ShownIn(s.share.AuthDir(), published.Generation) {
		warning, err = errors.Join(err, warning), nil // the sandbox reads the new token: that is no failure
	}
	if err == nil && !start {
		err = s.checkMounted()
	}
	g.note(s, token.Minted(), content.Due(), err, warning, time.Since(began)) // 3
	if err != nil {
		return fmt.Errorf("publish a token for %s: %w", record.Name, err)
	}
	if !start {
		return nil
	}
	fault("publish-start")
	return g.drivers[record.Driver].Start(ctx, s.id) // 4
}

// reserve makes sure that the record allows a generation before it is used.
func (g *Gateway) reserve(s *sandbox, generation uint64) error {
	if generation <= s.rec().GenerationLimit {
		return nil
	}
	return g.update(s, func(r *state.Record) { r.GenerationLimit = generation + generationStep - 1 })
}

// checkMounted tells whether the share's directory is the one that a running
// sandbox has mounted. What is published elsewhere is not delivered.
func (s *sandbox) checkMounted() error {
	s.mu.Lock()
	running, mounted := s.status.State == drivers.Running, s.record.Start.Share
	s.mu.Unlock()
	if !running || mounted == (state.Inode{}) {
		return nil
	}
	now, err := state.InodeOf(s.share.AuthDir())
	if err == nil && now != mounted {
		err = errors.New("it is not the directory any more that the sandbox has mounted")
	}
	if err != nil {
		return &drivers.Error{Op: "deliver into " + s.share.AuthDir(), Err: err,
			Hint: "stop and start the sandbox: it mounts the directory anew"}
	}
	return nil
}

// note keeps what became of a publish and sets the time of the next, if there
// is to be one.
func (g *Gateway) note(s *sandbox, minted tokens.Claims, due time.Time, err, warning error, took time.Duration) {
	var failures int
	var before string
	gone := false
	s.set(func() {
		failures, before, gone = s.token.Failures, s.warnings[untidyPublish], s.removed
		s.undelivered = false
		var next time.Time
		if err != nil {
			next = s.token.Failed(oneLine(err), time.Now(), s.record.TTL())
		} else {
			s.token.Succeeded(minted, s.record.TTL())
			if soon := time.Now().Add(schedule.FirstRetry); !due.IsZero() && due.Before(soon) {
				due = soon // a source that stays due would be asked without a pause
			}
			s.token.DueBy(due)
			next, s.warnings[untidyPublish] = s.token.Due, untidyLine(warning)
		}
		if minted.KeyID != g.keys.SigningKeyID() && err == nil {
			next = time.Now() // the key was replaced while this was under way
		}
		if s.renewed() {
			s.schedule.Set(s.id, next, s.token.Urgency())
		}
		s.tell()
	})
	log := g.log.With("sandbox", s.id, "name", s.rec().Name)
	if warning != nil && untidyLine(warning) != before {
		log.Warn("published, but not tidied up", "error", oneLine(warning))
	}
	switch {
	case err != nil && gone:
		return // it was removed meanwhile
	case err != nil:
		g.metrics.failures.Inc()
		log.Warn("renewal failed", "failures", failures+1, "error", oneLine(err))
		return
	case failures > 0:
		log.Info("renewal works again", "failures", failures)
	}
	g.metrics.published.Observe(took.Seconds())
	if took > slowPublish {
		log.Warn("a publish took long", slog.Uint64("generation", minted.Generation), "took", took)
	}
	log.Debug("published", slog.Uint64("generation", minted.Generation), "expires", minted.ExpiresAt, "took", took)
}

// untidyLine is "" if there is no warning.
func untidyLine(warning error) string {
	if warning == nil {
		return ""
	}
	return "the token is renewed, but the share can't be tidied up: " + oneLine(warning)
}

// renew is what the schedule runs.
func (g *Gateway) renew(ctx context.Context, id string) {
	s := g.byID(id)
	if s == nil {
		return
	}
	if _, kept := s.held(); kept {
		_ = g.deliver(ctx, s, false) // deliver has noted and logged it
	}
}

// pickUp says when a share is due after a restart: at once, unless it holds a
// token that verifies. It needs no lock, and leaves a share that is locked or
// damaged to the publish that follows.
func (g *Gateway) pickUp(s *sandbox) {
	claims, err := g.readToken(s, time.Now())
	_, content := g.content(s)
	others := content.Due() // no token is minted yet
	s.set(func() {
		if s.token.Renewals > 0 || !s.renewed() {
			return // what was published since is newer
		}
		due := time.Time{}
		if err == nil {
			s.token.Holds(claims, s.record.TTL())
			s.token.DueBy(others)
			due = s.token.Due
		}
		if r := s.record; !r.Own() && r.Desired == state.WantStopped {
			due = later(due, time.Now().Add(engineWord))
		}
		s.schedule.Set(s.id, due, s.token.ExpiresAt)
	})
}

// engineWord is how long what was stopped waits after a restart for its engine to
// say so. One that doesn't answer may run it.
const engineWord = 4 * firstLook

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// repair completes what a killed publish left of a share that is not due yet.
func (g *Gateway) repair(ctx context.Context, s *sandbox) {
	if t, kept := s.held(); !kept || t.Renewals > 0 {
		return // a publish has repaired it
	}
	bounded, cancel := context.WithTimeout(ctx, publishDeadline)
	defer cancel()
	if err := s.share.Repair(bounded); err != nil && ctx.Err() == nil {
		g.log.Warn("repair failed", "sandbox", s.id, "error", oneLine(err))
	}
}

// readToken verifies what a share holds.
func (g *Gateway) readToken(s *sandbox, now time.Time) (tokens.Claims, error) {
	held, err := lease.Read(s.share.AuthDir(), s.id, g.verifier, now)
	s.set(func() { s.token.Found(held) })
	return held.Claims, err
}

// clockStepped looks at every token again: one from the future is renewed now,
// and the schedule finds what is overdue.
func (g *Gateway) clockStepped() {
	now := time.Now()
	for _, s := range g.all() {
		s.set(func() {
			if now.Before(s.token.IssuedAt) && s.renewed() {
				s.schedule.Set(s.id, now, now)
			}
		})
	}
	g.schedule.Recheck()
	g.prunes.Recheck()
}
