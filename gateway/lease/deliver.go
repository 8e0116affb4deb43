package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/internal/killpoint"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// publishDeadline bounds one publish. If another process holds a share's lock, the renewal
// then fails visibly.
const publishDeadline = 5 * time.Second

// slowPublish is how long a successful publish may take before the log tells of it. The
// usual cause is the disk: a publish waits until the token is on it, and no deadline ends
// that wait.
const slowPublish = 2 * time.Second

// Deliver is the data path: mint, publish, start. A renewal is the first three steps; a
// start and a resume are all four. So no sandbox starts without a fresh token in its share.
//
//  1. Under the share's lock, where the number of the new generation is known: get the
//     files of all sources. The token is the first of them and carries the number.
//  2. Publish: all files become visible at once, by one rename. A renewal succeeds only
//     if the sandbox has this very directory mounted.
//  3. Note the result, and when the next delivery is due: at the renewal time, or soon
//     after a failure. After a failure the last good token stays where it is.
//  4. Call start, unless it is nil. From then on the sandbox reads the token.
//
// If start is not nil, the caller holds the Op lock of what is started.
//
// If a token for another audience can't be made, the others are published all the same, with the
// last one of that audience beside them. It counts as a failure, and Lacks tells it.
func (k *Keeper) Deliver(ctx context.Context, l *Lease, start func(context.Context) error) error {
	return deliver(ctx, k, l, false, start)
}

// deliver does that. A renewal that is due only to make a token that could not be made before
// publishes nothing if it can't be made now.
func deliver(ctx context.Context, k *Keeper, l *Lease, renewal bool, start func(context.Context) error) error {
	content := &Content{}
	if start != nil {
		l.Reread()
	}
	build := func(generation uint64) ([]share.File, error) {
		if err := l.holder.Reserve(generation); err != nil {
			return nil, err
		}
		l.asking()
		content = k.content(l)
		files, err := content.Build(generation) // 1
		if err == nil && start != nil {
			err = content.startable(l.holder.Tokens().Static)
		}
		if lacking, lacks := content.lacks(); err == nil && lacks != nil && renewal &&
			l.onlyFor(k, lacking) && content.nothingNew(l.Share().AuthDir()) {
			err = lacks
		}
		if err == nil && k.opts.Minted != nil {
			for _, t := range content.tokens {
				if t.problem == nil && t.Own == nil {
					k.opts.Minted(l, t.Minted())
				}
			}
		}
		return files, err
	}
	bounded, cancel := context.WithTimeout(ctx, publishDeadline)
	defer cancel()
	early, began := renewal && l.early(k), time.Now()
	published, err := l.publish(bounded, early, build) // 2
	pruner{k}.at(l, published.PruneAt)
	if early && !published.Changed && share.IsFull(err) && l.putOff(k, content.files) {
		return nil
	}
	warning := published.Warning
	if err != nil && published.Changed && content.ShownIn(l.Share().AuthDir(), published.Generation) {
		warning, err = errors.Join(err, warning), nil // the sandbox reads the new token: that is no failure
	}
	if err == nil && start == nil {
		err = l.holder.Mounted()
	}
	o := content.outcome(err, warning, time.Since(began))
	if o.held = published.Held; o.held != "" {
		o.due = began.Add(schedule.LongestRetry)
	}
	k.note(l, o) // 3
	if err == nil {
		followed{k}.plan(l, content.tokens[0].data)
	}
	if err != nil {
		return fmt.Errorf("publish a token for %s: %w", l.holder.Name(), err)
	}
	if start == nil {
		return nil
	}
	killpoint.At("publish-start")
	return start(ctx) // 4
}

// content returns the sources of the next publish: the tokens that the holder wants at this
// moment, what describes them, and the sources of Options.Further.
func (k *Keeper) content(l *Lease) *Content {
	minted := k.tokensOf(l)
	c := &Content{tokens: minted, Warn: func(err error) {
		k.opts.Log.Warn("files beside the token can't be made anew; those published last stay", "sandbox", l.id, "error", oneLine(err))
	}}
	for _, t := range minted {
		c.Sources = append(c.Sources, t)
	}
	metadata := &Metadata{Tokens: minted}
	if k.opts.Described != nil {
		metadata.Sources = k.opts.Described(l)
	}
	c.Sources = append(append(c.Sources, metadata), k.opts.Further(l)...)
	return c
}

// publish calls share.Publish. If the share's directory is gone and its holder makes it
// anew, it publishes once more. Early, it leaves the reserve to the renewals.
func (l *Lease) publish(ctx context.Context, early bool, build func(uint64) ([]share.File, error)) (share.Published, error) {
	s := l.Share()
	if early {
		s = s.WithoutReserve()
	}
	p, err := s.Publish(ctx, l.floor(), build)
	if !isNotExist(err) {
		return p, err
	}
	release := l.holder.Restore()
	if release == nil {
		return p, err
	}
	defer release()
	return s.Publish(ctx, l.floor(), build)
}

// early reports whether no token of the share is due: only a file beside them has changed. On a
// full disk that must not use up what is set aside for renewals.
func (l *Lease) early(k *Keeper) bool {
	now := time.Now()
	r, _ := l.Renewal()
	early := now.Before(r.RenewAt) && len(r.Lacking) == 0 && !k.outdated(r)
	for _, t := range r.Files {
		early = early && now.Before(t.RenewAt)
	}
	return early && len(r.Files) == len(l.holder.Tokens().Files)
}

// outcome is the result of one publish.
type outcome struct {
	minted  tokens.Claims
	files   []Issued  // the tokens for other audiences
	due     time.Time // when the first source is due
	err     error
	lacking []string // files whose tokens could not be made; the share has those of before, if any
	lacks   error    // why not the first of them
	dirs    int      // directories among the files
	held    string   // files for whose change there was no room
	warning error    // the publish succeeded, but could not tidy up
	took    time.Duration
}

// outcome returns the result of the publish of this content.
func (c *Content) outcome(err, warning error, took time.Duration) outcome {
	o := outcome{due: c.Due(), dirs: share.Dirs(c.files), err: err, warning: warning, took: took}
	o.lacking, o.lacks = c.lacks()
	for i, t := range c.tokens {
		if i == 0 {
			o.minted = t.Minted()
			continue
		}
		if known, there := t.issued(); there {
			o.files = append(o.files, known)
		}
	}
	return o
}

// note records the result of a publish and sets the time of the next one. It does so
// before it calls Delivered, because that may change the lease's phase to Renewed, and
// then the time must be right.
func (k *Keeper) note(l *Lease, o outcome) {
	ttl, untidy := l.ttl(), untidyLine(o.warning)
	shortest, _ := l.lifetimes()
	l.mu.Lock()
	failures, ended := l.renewal.Failures, l.phase == Ended
	newWarning := untidy != "" && untidy != l.untidy[byPublish]
	if o.err == nil {
		l.untidy[byPublish], l.dirs, l.held = untidy, o.dirs, o.held
	}
	l.schedule(k.next(l, o, ttl, shortest))
	l.tell()
	l.mu.Unlock()
	l.holder.Delivered()
	log := k.opts.Log.With("sandbox", l.id, "name", l.holder.Name())
	if newWarning {
		log.Warn("published, but not tidied up", "error", oneLine(o.warning))
	}
	switch {
	case o.err != nil && ended:
		return // it was removed meanwhile
	case o.err != nil:
		k.opts.Failed(l, oneLine(o.err))
		log.Warn("renewal failed", "failures", failures+1, "error", oneLine(o.err))
		return
	case o.lacks != nil:
		k.opts.Failed(l, oneLine(o.lacks))
		log.Warn("a token can't be made; the others are renewed", "failures", failures+1, "error", oneLine(o.lacks))
	case failures > 0:
		log.Info("renewal works again", "failures", failures)
	}
	k.opts.Published(l, o.minted.Generation, o.took)
	if o.took > slowPublish {
		log.Warn("a publish took long", slog.Uint64("generation", o.minted.Generation), "took", o.took)
	}
	log.Debug("published", slog.Uint64("generation", o.minted.Generation), "expires", o.minted.ExpiresAt, "took", o.took)
}

// next records an outcome in the renewal and returns when the next delivery is due. The
// caller holds l.mu.
func (k *Keeper) next(l *Lease, o outcome, ttl, shortest time.Duration) time.Time {
	now := time.Now()
	if o.err != nil {
		return l.renewal.Failed(oneLine(o.err), now, shortest)
	}
	if o.lacks != nil {
		l.renewal.Renewals++
		l.renewal.Holds(o.minted, ttl, o.files)
		l.renewal.Lacking = o.lacking
		return l.renewal.Failed(oneLine(o.lacks), now, shortest)
	}
	l.renewal.Succeeded(o.minted, ttl, o.files)
	if soon := now.Add(schedule.FirstRetry); !o.due.IsZero() && o.due.Before(soon) {
		o.due = soon // a source that stays due would be asked without a pause
	}
	l.renewal.DueBy(o.due)
	if l.hasty || k.outdated(l.renewal) {
		return now // a source, a key or the issuer changed while this was under way
	}
	return l.renewal.Due
}

// untidyLine returns one line for users, or "" if there is no warning.
func untidyLine(warning error) string {
	if warning == nil {
		return ""
	}
	return "the token is renewed, but the share can't be tidied up: " + oneLine(warning)
}
