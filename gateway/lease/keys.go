package lease

import (
	"context"
	"fmt"
	"time"

	"openshell-vm/tokens"
)

// rotatePatience bounds how long a rotation waits for a share while no other gets
// anywhere either: longer than one that hangs takes to show it.
const rotatePatience = 2 * publishDeadline

// Republished is what became of the shares that a change of keys concerns.
type Republished struct {
	KeyID string
	Done  int // hold a token of another key
	// Failed could not be published, and are tried again. Waiting hang.
	Failed, Waiting int
}

// HeldError refuses to retire a key.
type HeldError struct {
	KeyID  string
	Shares int // that hold a token which it signed
}

// Error names the key and how many shares need it.
func (e *HeldError) Error() string {
	return fmt.Sprintf("tokens that the key %s signed are still held, by %d of the shares", e.KeyID, e.Shares)
}

// RotateKeys makes a new signing key and has every share published at once. The old key
// verifies until the last token that it signed has expired. It returns once every share
// holds a token of the new key, has shown that it can't, or hangs.
func (k *Keeper) RotateKeys(ctx context.Context) (Republished, error) {
	kid, err := k.opts.Keys.Rotate(time.Now(), k.longestTTL())
	if err != nil {
		return Republished{}, fmt.Errorf("rotate the keys: %w", err)
	}
	k.opts.Log.Info("a new key signs", "key", kid)
	result := k.republish(ctx, func(r Renewal) bool { return r.KeyID != kid })
	result.KeyID = kid
	return result, nil
}

// RetireKey makes a key invalid at once. While shares hold tokens that it signed it is
// refused with a HeldError, unless it is forced: then these are replaced at once. The key
// that signs is refused with tokens.ErrSigningKey.
func (k *Keeper) RetireKey(ctx context.Context, kid string, force bool) (Republished, error) {
	if n := k.Holding(kid); n > 0 && !force && kid != k.opts.Keys.SigningKeyID() {
		return Republished{}, &HeldError{KeyID: kid, Shares: n}
	}
	if err := k.opts.Keys.Retire(kid); err != nil {
		return Republished{}, fmt.Errorf("retire the key %s: %w", kid, err)
	}
	k.opts.Log.Info("a key was retired", "key", kid)
	k.TellUntidyKeys()
	k.pruneAll(0) // its tokens are withdrawn
	result := k.republish(ctx, func(r Renewal) bool { return r.KeyID == kid })
	result.KeyID = kid
	return result, nil
}

// TellUntidyKeys logs what is not as it should be in the key directory.
func (k *Keeper) TellUntidyKeys() {
	if err := k.opts.Keys.Untidy(); err != nil {
		k.opts.Log.Warn("the key directory is not tidy", "error", oneLine(err))
	}
}

// Keys are those that verify now.
func (k *Keeper) Keys() []tokens.KeyInfo {
	var valid []tokens.KeyInfo
	now := time.Now()
	for _, key := range k.opts.Keys.List() {
		if key.RetireAt.IsZero() || now.Before(key.RetireAt) {
			valid = append(valid, key)
		}
	}
	return valid
}

// Holding is how many shares that are renewed hold a token which the key signed.
func (k *Keeper) Holding(kid string) (n int) {
	for _, l := range k.all() {
		if r, kept := l.Renewal(); kept && r.KeyID == kid {
			n++
		}
	}
	return n
}

// longestTTL is the longest lifetime of any token that verifies: a token of what was
// removed does not.
func (k *Keeper) longestTTL() (longest time.Duration) {
	for _, l := range k.all() {
		longest = max(longest, l.holder.TTL())
	}
	return longest
}

// republish brings the renewal of every share with an old token forward to now, on the one
// schedule, and waits until each is done or has failed, as long as any of them gets there.
func (k *Keeper) republish(ctx context.Context, old func(Renewal) bool) Republished {
	began := time.Now()
	var list []*Lease
	for _, l := range k.all() {
		l.mu.Lock()
		if (l.phase == Renewed || l.phase == Pending) && old(l.renewal) {
			l.schedule(began) // of one whose start is on its way, for when it is renewed
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
		before = now // this one hangs, others don't
	}
	return tally(list, began, old)
}

// await returns once a share's renewal is done or has failed; false means that neither
// came in time.
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

// progress says what has come of a renewal so far. The caller holds l.mu.
func (l *Lease) progress(began time.Time, old func(Renewal) bool) (waits, failed bool) {
	switch {
	case l.phase != Renewed || !old(l.renewal):
		return false, false
	case l.renewal.LastErrorAt.After(began):
		return false, true
	}
	return true, false
}

// tally counts what has come of each.
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
