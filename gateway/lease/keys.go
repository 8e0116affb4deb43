package lease

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"openshell-vm/tokens"
)

// rotatePatience bounds how long a rotation waits for one share. If no share was published
// in that time, the rotation stops waiting. It is longer than publishDeadline, so a share
// whose lock is held has failed by then.
const rotatePatience = 2 * publishDeadline

// Republished counts the shares that a change of keys concerns, by their result.
type Republished struct {
	KeyID string // the new key, or the retired one
	Done  int    // shares that hold no token of the old key any more
	// Failed counts shares whose publish failed and is retried. Waiting counts those whose
	// publish had not ended when the wait was over.
	Failed, Waiting int
}

// Rotated is what a rotation did.
type Rotated struct {
	Made   []tokens.KeyInfo // a key of each kind, that for the gateway's tokens first
	Shares Republished      // zero if the new keys sign later
}

// HeldError is the refusal to retire a key that is still needed.
type HeldError struct {
	KeyID  string
	Shares int // how many hold a token that the key signed
}

// Error names the key and the number of shares.
func (e *HeldError) Error() string {
	return fmt.Sprintf("tokens that the key %s signed are still held, by %d of the shares", e.KeyID, e.Shares)
}

// RotateKeys makes a new key of each kind. The old ones verify until the last tokens that
// they signed have expired.
//
// Without publishFor the new keys sign at once, and RotateKeys brings the renewal of every
// share forward to now. It returns once each share holds only tokens of keys that sign, has
// failed, or hangs, or when ctx ends. With publishFor the new keys are only published, and
// RotateKeys returns at once: they sign later, and ServeKeys renews the shares then.
func (k *Keeper) RotateKeys(ctx context.Context, publishFor time.Duration) (Rotated, error) {
	made, err := k.opts.Keys.Rotate(time.Now(), k.longestTTL(), publishFor)
	if err != nil {
		return Rotated{}, fmt.Errorf("rotate the keys: %w", err)
	}
	for _, key := range made {
		k.opts.Log.Info("a new key", "key", key.ID, "algorithm", key.Algorithm, "signs_in", max(0, publishFor))
	}
	k.HoldKeys()
	turns{k}.plan()
	if publishFor > 0 {
		for i := range made {
			made[i] = asItIs(k.opts.Keys, made[i])
		}
		return Rotated{Made: made}, nil
	}
	return Rotated{made, k.republish(ctx, k.outdated)}, nil
}

// beginRetry is the pause after keys could not be settled. They sign all the same.
const beginRetry = time.Minute

// ServeKeys renews the shares whenever keys that were published ahead begin to sign, until
// ctx ends. Call PickUp before.
func (k *Keeper) ServeKeys(ctx context.Context) {
	turns{k}.plan()
	k.begins.Serve(ctx)
}

// HoldKeys changes when keys begin to sign to what Options.MaySign says. It is for whoever
// knows that something has changed, and is called now and then, well before a key begins.
func (k *Keeper) HoldKeys() {
	if k.opts.MaySign == nil {
		return
	}
	now := time.Now()
	moved, err := k.opts.Keys.Hold(now, func(key tokens.KeyInfo) time.Time { return k.opts.MaySign(key, now) })
	if err != nil {
		k.opts.Log.Warn("when the next key signs can't be changed", "error", oneLine(err))
		return
	}
	for _, key := range moved {
		level := slog.LevelInfo
		if key.SignsFrom.Sub(key.Planned()) > time.Minute { // not only until a hook has run that works
			level = slog.LevelWarn
		}
		k.opts.Log.Log(context.Background(), level, "a key signs at another time, since others must know it before",
			"key", key.ID, "algorithm", key.Algorithm, "planned", key.Planned(), "signs_from", key.SignsFrom)
	}
	if len(moved) > 0 {
		turns{k}.plan()
	}
}

// asItIs returns what is known of a key now.
func asItIs(keys *tokens.Keys, made tokens.KeyInfo) tokens.KeyInfo {
	for _, now := range keys.List(time.Now()) {
		if now.ID == made.ID {
			return now
		}
	}
	return made
}

// turns are those of the keys that sign.
type turns struct{ *Keeper }

// plan puts the next key that begins to sign on its schedule.
func (k turns) plan() {
	const next = "next"
	if at := k.opts.Keys.NextBegin(); !at.IsZero() {
		k.begins.Set(next, at, at)
	} else {
		k.begins.Remove(next)
	}
}

// begin is called by its schedule.
func (k turns) begin(ctx context.Context, next string) {
	k.HoldKeys()
	begun, err := k.opts.Keys.Begin(time.Now(), k.longestTTL())
	if err != nil {
		k.opts.Log.Warn("new keys sign, but that can't be noted", "error", oneLine(err))
		retry := time.Now().Add(beginRetry)
		k.begins.Set(next, retry, retry)
		return
	}
	k.plan()
	if len(begun) == 0 {
		return
	}
	for _, key := range begun {
		k.opts.Log.Info("a key signs now", "key", key.ID, "algorithm", key.Algorithm)
	}
	result := k.republish(ctx, k.outdated)
	k.opts.Log.Info("shares were published anew", "done", result.Done, "failed", result.Failed, "waiting", result.Waiting)
}

// Republish brings the renewal of every share forward that holds a token of a former issuer, or
// of a key that does not sign now. It returns as RotateKeys does.
func (k *Keeper) Republish(ctx context.Context) Republished { return k.republish(ctx, k.outdated) }

// outdated reports whether a share holds a token of a key that does not sign now, or of a former
// issuer.
func (k *Keeper) outdated(r Renewal) bool {
	now := time.Now()
	return k.renamed(r) || slices.ContainsFunc(r.keys(), func(kid string) bool { return !k.opts.Keys.Signs(kid, now) })
}

// RetireKey makes a key invalid at once. While shares hold tokens that it signed, RetireKey
// returns a HeldError, unless force is set: then it replaces these tokens. For the signing
// key it returns tokens.ErrSigningKey. A key that was to sign later is given up.
func (k *Keeper) RetireKey(ctx context.Context, kid string, force bool) (Republished, error) {
	if n := k.Holding(kid); n > 0 && !force && !k.opts.Keys.Signs(kid, time.Now()) {
		return Republished{}, &HeldError{KeyID: kid, Shares: n}
	}
	if err := k.opts.Keys.Retire(kid, time.Now()); err != nil {
		return Republished{}, fmt.Errorf("retire the key %s: %w", kid, err)
	}
	k.opts.Log.Info("a key was retired", "key", kid)
	k.TellUntidyKeys()
	turns{k}.plan()
	pruner{k}.all(0) // old generations with the key's tokens must go now
	result := k.republish(ctx, func(r Renewal) bool { return r.holds(kid) })
	result.KeyID = kid
	return result, nil
}

// TellUntidyKeys logs what could not be tidied up in the key directory.
func (k *Keeper) TellUntidyKeys() {
	if err := k.opts.Keys.Untidy(); err != nil {
		k.opts.Log.Warn("the key directory is not tidy", "error", oneLine(err))
	}
}

// Keys returns the keys that verify tokens now, or will.
func (k *Keeper) Keys() []tokens.KeyInfo {
	var valid []tokens.KeyInfo
	now := time.Now()
	for _, key := range k.opts.Keys.List(now) {
		if key.RetireAt.IsZero() || now.Before(key.RetireAt) {
			valid = append(valid, key)
		}
	}
	return valid
}

// Holding counts the renewed shares that hold a token of the key.
func (k *Keeper) Holding(kid string) (n int) {
	for _, l := range k.all() {
		if r, kept := l.Renewal(); kept && r.holds(kid) {
			n++
		}
	}
	return n
}

// longestTTL returns the longest token lifetime of any lease, also of tokens that were asked for,
// and of those beside leases. Tokens of removed sandboxes need not be counted: they do not verify.
func (k *Keeper) longestTTL() (longest time.Duration) {
	if k.opts.Beside != nil {
		longest = k.opts.Beside()
	}
	for _, l := range k.all() {
		_, its := l.lifetimes()
		if asked := l.holder.Tokens(); len(asked.Files)+len(asked.Audiences) > 0 {
			its = max(its, min(MaxExchanged, l.holder.TTL()))
		}
		longest = max(longest, its)
	}
	return longest
}

// keys returns the keys of all tokens that a share holds.
func (r Renewal) keys() []string {
	var all []string
	if !r.Static {
		all = append(all, r.KeyID)
	}
	for _, t := range r.Files {
		all = append(all, t.KeyID)
	}
	return all
}

func (r Renewal) holds(kid string) bool { return slices.Contains(r.keys(), kid) }

// republish brings the renewal of every share with an old token forward to now. It uses
// the ordinary schedule. It waits until each share is done or has failed, and gives up
// when there was no progress for rotatePatience.
func (k *Keeper) republish(ctx context.Context, old func(Renewal) bool) Republished {
	began := time.Now()
	var list []*Lease
	for _, l := range k.all() {
		l.mu.Lock()
		if (l.phase == Renewed || l.phase == Pending) && old(l.renewal) {
			l.schedule(began) // if a start is under way, this only sets the time; Follow schedules it
			if l.phase == Renewed {
				list = append(list, l)
			}
		}
		l.mu.Unlock()
	}
	before := Republished{Waiting: len(list)}
	for _, l := range list {
		if l.await(ctx, began, old) {
			continue
		}
		now := tally(list, began, old)
		if ctx.Err() != nil || now == before {
			break
		}
		before = now // this share hangs, but others get on
	}
	return tally(list, began, old)
}

// await waits until a share's renewal is done or has failed. It returns false if neither
// happened within rotatePatience or before ctx ended.
func (l *Lease) await(ctx context.Context, began time.Time, old func(Renewal) bool) bool {
	patience := time.NewTimer(rotatePatience)
	defer patience.Stop()
	for {
		var news <-chan struct{}
		l.mu.Lock()
		if waits, _ := l.progress(began, old); waits {
			news = l.hear()
		}
		l.mu.Unlock()
		if news == nil {
			return true
		}
		select {
		case <-news:
		case <-patience.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// progress reports whether the renewal is still awaited, or has failed. If neither, it is
// done. The caller holds l.mu.
func (l *Lease) progress(began time.Time, old func(Renewal) bool) (waits, failed bool) {
	switch {
	case l.phase != Renewed || !old(l.renewal):
		return false, false
	case l.renewal.LastErrorAt.After(began):
		return false, true
	}
	return true, false
}

// tally counts the shares by their progress.
func tally(list []*Lease, began time.Time, old func(Renewal) bool) (r Republished) {
	for _, l := range list {
		l.mu.Lock()
		waits, failed := l.progress(began, old)
		l.mu.Unlock()
		switch {
		case failed:
			r.Failed++
		case waits:
			r.Waiting++
		default:
			r.Done++
		}
	}
	return r
}
