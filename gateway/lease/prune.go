package lease

import (
	"context"
	"time"

	"openshell-vm/internal/contract"
)

// Old generations go by a schedule of their own, beside the renewals': a publish and a
// prune say when the next prune is due. Nothing of it is kept in a record: a new gateway
// looks at every share once.

// Overlap is how long a superseded token stays readable by its resolved path. PHP holds on
// to such a path for 120 s; it stays in sight a little longer.
const Overlap = 130 * time.Second

const (
	// firstPrune is when the first of all shares is pruned after the gateway's
	// beginning, when renewals have had their time; the last one is as much later.
	firstPrune = 5 * time.Second
	// pruneRetry is when a prune that failed is tried again.
	pruneRetry = time.Minute
)

// Superseded says of a file in an old generation whether a mere renewal superseded it:
// the metadata, and a token unless its key was retired.
func (k *Keeper) Superseded(name string, data []byte) bool {
	return name == contract.MetadataName || name == contract.TokenName && k.opts.Keys.Know(string(data), time.Now())
}

// ServePrunes prunes every share a while after its beginning, and then what is due, until
// ctx ends.
func (k *Keeper) ServePrunes(ctx context.Context) {
	k.pruneAll(firstPrune)
	k.prunes.Serve(ctx)
}

// prune is what the schedule runs.
func (k *Keeper) prune(ctx context.Context, id string) {
	l := k.byID(id)
	if l == nil {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, publishDeadline)
	defer cancel()
	next, err := l.share.Prune(bounded, time.Now())
	if ctx.Err() != nil {
		return
	}
	k.opts.Pruned(l.share.Dir())
	if isNotExist(err) {
		err = nil // the share is gone, which its renewal tells
	}
	problem := ""
	if err != nil {
		problem = "old content can't be removed: " + oneLine(err)
		if next.IsZero() {
			next = time.Now().Add(pruneRetry)
		}
	}
	if l.notePrune(problem) && problem != "" {
		k.opts.Log.Warn("prune failed", "sandbox", l.id, "name", l.holder.Name(), "error", oneLine(err))
	}
	k.pruneAt(l, next)
}

// notePrune says whether the problem is another than before.
func (l *Lease) notePrune(problem string) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed = l.untidy[byPrune] != problem
	l.untidy[byPrune] = problem
	return changed
}

// pruneAt sets when a share is pruned next; zero is never.
func (k *Keeper) pruneAt(l *Lease, at time.Time) {
	k.mu.RLock() // so that Drop comes before it or after it
	defer k.mu.RUnlock()
	if !at.IsZero() && k.leases[l.id] == l {
		k.prunes.Set(l.id, at, at)
	}
}

// pruneAll has every share pruned, spread over a time as long as that until the first.
func (k *Keeper) pruneAll(after time.Duration) {
	all, now := k.all(), time.Now()
	for i, l := range all {
		k.pruneAt(l, now.Add(after+after*time.Duration(i)/time.Duration(len(all))))
	}
}
