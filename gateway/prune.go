package gateway

import (
	"context"
	"path/filepath"
	"time"

	"openshell-vm/internal/contract"
)

// Old generations go by a schedule of their own, beside the renewals': a publish
// and a prune say when the next prune is due. Nothing of it is kept in a record:
// a new gateway looks at every share once.

const (
	// overlap is how long a superseded token stays readable by its resolved path.
	// PHP holds on to such a path for 120 s; it stays in sight a little longer.
	overlap = 130 * time.Second
	// firstPrune is when the first of all shares is pruned after the gateway's
	// beginning, when renewals have had their time; the last one is as much later.
	firstPrune = 5 * time.Second
	// pruneRetry is when a prune that failed is tried again.
	pruneRetry = time.Minute
)

// renewed says of a file in an old generation whether a mere renewal superseded
// it: the metadata, and a token unless its key was retired.
func (g *Gateway) renewed(name string, data []byte) bool {
	return name == contract.MetadataName || name == contract.TokenName && g.keys.Know(string(data), time.Now())
}

// prune is what the schedule runs.
func (g *Gateway) prune(ctx context.Context, id string) {
	s := g.byID(id)
	if s == nil {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, publishDeadline)
	defer cancel()
	next, err := s.share.Prune(bounded, time.Now())
	if ctx.Err() != nil {
		return
	}
	if r := g.home.RoomOf(filepath.Dir(s.share.Dir())); r != nil {
		r.Again() // before others take what is free now
	}
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
	if s.notePrune(problem) && problem != "" {
		g.log.Warn("prune failed", "sandbox", s.id, "name", s.rec().Name, "error", oneLine(err))
	}
	g.pruneAt(s, next)
}

// notePrune says whether the problem is another than before.
func (s *sandbox) notePrune(problem string) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = s.warnings[untidyPrune] != problem
	s.warnings[untidyPrune] = problem
	return changed
}

// pruneAt sets when a share is pruned next; zero is never.
func (g *Gateway) pruneAt(s *sandbox, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !at.IsZero() && !s.gone {
		g.prunes.Set(s.id, at, at)
	}
}

// pruneAll has every share pruned, spread over a time as long as that until the first.
func (g *Gateway) pruneAll(after time.Duration) {
	all, now := g.all(), time.Now()
	for i, s := range all {
		g.pruneAt(s, now.Add(after+after*time.Duration(i)/time.Duration(len(all))))
	}
}
