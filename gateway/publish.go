package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// publishDeadline bounds one publish: a share whose lock is held must not stay
// without a visible failure.
const publishDeadline = 5 * time.Second

// Metadata is the file beside the token.
type Metadata = drivers.Metadata

// deliver is the data path: mint, publish, start. Each renewal takes it without
// the last step, each start and each resume with it, so there is no way to a
// running sandbox that has no fresh token in its share.
//
//  1. Under the share's lock, where the new generation's number is known: mint
//     a token that carries it.
//  2. Publish: the token, its metadata and further files become visible at once, by one rename.
//     The publish counts only if the sandbox has this very directory mounted.
//  3. Note the result and when to come again: at the renewal time, or soon
//     after a failure. The last good token stays where it is.
//  4. Start, if asked to: from here on the sandbox reads the token.
//
// For a start the caller holds s.op.
func (g *Gateway) deliver(ctx context.Context, s *sandbox, start bool) error {
	record := s.rec()
	var minted tokens.Claims
	mint := func(generation uint64) ([]share.File, error) {
		if err := g.reserve(s, generation); err != nil {
			return nil, err
		}
		raw, claims, err := g.issuer.Mint(tokens.Request{SandboxID: s.id, Generation: generation, TTL: record.ttl(), Now: time.Now()}) // 1
		if err != nil {
			return nil, err
		}
		minted = claims
		metadata, err := g.metadata(record, claims)
		if err != nil {
			return nil, err
		}
		return g.content(s, []byte(raw), metadata)
	}
	bounded, cancel := context.WithTimeout(ctx, publishDeadline)
	defer cancel()
	began := time.Now()
	published, err := g.publish(bounded, s, mint) // 2
	g.pruneAt(s, published.PruneAt)
	if err == nil && !start {
		err = s.checkMounted()
	}
	g.note(s, minted, err, time.Since(began)) // 3
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
	return g.update(s, func(r *Record) { r.GenerationLimit = generation + generationStep - 1 })
}

func (g *Gateway) metadata(r *Record, c tokens.Claims) ([]byte, error) {
	data, err := json.Marshal(Metadata{Generation: c.Generation, IssuedAt: c.IssuedAt.UTC(), ExpiresAt: c.ExpiresAt.UTC(),
		RenewAt: tokens.RenewAt(c.IssuedAt, r.ttl(), r.ID).UTC(), Gateway: g.home.ID, AuthMode: drivers.AuthMode})
	return append(data, '\n'), err
}

// checkMounted tells whether the share's directory is the one that a running
// sandbox has mounted. What is published elsewhere is not delivered.
func (s *sandbox) checkMounted() error {
	s.mu.Lock()
	running, mounted := s.status.State == drivers.Running, s.record.Start.Share
	s.mu.Unlock()
	if !running || mounted == (inode{}) {
		return nil
	}
	now, err := inodeOf(s.share.AuthDir())
	if err == nil && now != mounted {
		err = errors.New("it is not the directory any more that the sandbox has mounted")
	}
	if err != nil {
		return &drivers.Error{Op: "deliver into " + s.share.AuthDir(), Err: err,
			Hint: "stop and start the sandbox: it mounts the directory anew"}
	}
	return nil
}

// note keeps what became of a publish and sets the time of the next.
func (g *Gateway) note(s *sandbox, minted tokens.Claims, err error, took time.Duration) {
	var failures int
	s.set(func() {
		failures = s.token.Failures
		var next time.Time
		if err != nil {
			next = s.noteFailure(err)
		} else {
			next = s.noteSuccess(minted)
		}
		if !s.gone {
			g.schedule.set(s.id, next)
		}
	})
	log := g.log.With("sandbox", s.id, "name", s.rec().Name)
	switch {
	case err != nil:
		g.metrics.failures.Inc()
		log.Warn("renewal failed", "failures", failures+1, "error", oneLine(err))
		return
	case failures > 0:
		log.Info("renewal works again", "failures", failures)
	}
	g.metrics.published.Observe(took.Seconds())
	log.Debug("published", slog.Uint64("generation", minted.Generation), "expires", minted.ExpiresAt, "took", took)
}

// holds notes which token the share holds. The caller holds s.mu.
func (s *sandbox) holds(c tokens.Claims) {
	t := &s.token
	t.Generation, t.KeyID, t.TokenID = c.Generation, c.KeyID, c.TokenID
	t.IssuedAt, t.ExpiresAt = c.IssuedAt, c.ExpiresAt
	t.RenewAt = tokens.RenewAt(c.IssuedAt, s.record.ttl(), s.id)
}

// noteSuccess and noteFailure say when to come again. The caller holds s.mu.
func (s *sandbox) noteSuccess(minted tokens.Claims) (next time.Time) {
	t := &s.token
	t.Renewals++
	t.Failures, t.LastError, t.LastErrorAt = 0, "", time.Time{}
	s.holds(minted)
	return t.RenewAt
}

func (s *sandbox) noteFailure(err error) (next time.Time) {
	t, now := &s.token, time.Now()
	t.Failures++
	t.LastError, t.LastErrorAt = oneLine(err), now
	return now.Add(retryDelay(t.Failures, s.record.ttl()))
}

// renew is what the schedule runs.
func (g *Gateway) renew(ctx context.Context, id string) {
	if s := g.byID(id); s != nil {
		_ = g.deliver(ctx, s, false) // deliver has noted and logged it
	}
}

// pickUp repairs a share after a restart and says when it is due: at once,
// unless it holds a token that verifies. That a share is lost is no error
// here: the publish that follows reports it.
func (g *Gateway) pickUp(ctx context.Context, s *sandbox) {
	bounded, cancel := context.WithTimeout(ctx, publishDeadline)
	defer cancel()
	if err := s.share.Repair(bounded); err != nil {
		g.log.Warn("repair failed", "sandbox", s.id, "error", oneLine(err))
	}
	now, next := time.Now(), time.Time{}
	if claims, err := g.readToken(s, now); err == nil {
		s.set(func() { s.holds(claims) })
		if ttl := s.rec().ttl(); !tokens.Due(now, claims.IssuedAt, ttl, s.id) {
			next = tokens.RenewAt(claims.IssuedAt, ttl, s.id)
		}
	}
	g.schedule.set(s.id, next)
}

// readToken verifies what a share holds.
func (g *Gateway) readToken(s *sandbox, now time.Time) (tokens.Claims, error) {
	content, err := share.Read(s.share.AuthDir())
	if err != nil {
		return tokens.Claims{}, err
	}
	claims, err := g.verifier.Verify(string(content.Files[tokenFile]), now)
	if err == nil && (claims.SandboxID != s.id || claims.Generation != content.Generation) {
		err = errors.New("the share holds another sandbox's token")
	}
	s.set(func() { s.token.Generation = content.Generation })
	return claims, err
}

// clockStepped looks at every token again: one from the future is renewed now,
// and the schedule finds what is overdue.
func (g *Gateway) clockStepped() {
	now := time.Now()
	for _, s := range g.all() {
		s.mu.Lock()
		if now.Before(s.token.IssuedAt) && !s.gone {
			g.schedule.set(s.id, now)
		}
		s.mu.Unlock()
	}
	g.schedule.recheck()
	g.prunes.recheck()
}
