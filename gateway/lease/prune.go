package lease

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"openshell-vm/internal/contract"
	"openshell-vm/internal/vocab"
)

// Old generations are removed by a schedule of their own, beside that of the renewals. Each
// publish and each prune says when the next prune is due. That time is in no record: a new
// gateway prunes every share once.

// Overlap is how long a superseded token stays readable by its resolved path. PHP caches a
// resolved path for 120 s; Overlap is a little longer.
const Overlap = 130 * time.Second

const (
	// firstPrune is when the first share is pruned after the gateway's beginning. The
	// renewals come before that. The other shares follow, spread over as long again.
	firstPrune = 5 * time.Second
	// pruneRetry is the pause after a prune that failed.
	pruneRetry = time.Minute
)

// Superseded reports whether a file in an old generation of a lease's share was replaced by an
// ordinary renewal, and so may stay readable for Overlap. That is so for the metadata, and for
// a token unless its key was retired or its holder does not want it any more.
func (k *Keeper) Superseded(id, name string, data []byte) bool {
	switch l := k.byID(id); {
	case name == contract.MetadataName:
		return true
	case name == contract.TokenName && l != nil && l.holder.Tokens().Mode == vocab.StaticToken:
		return true
	case name != contract.TokenName && (l == nil || !wants(l, name, data)):
		return false
	}
	return k.opts.Keys.Know(string(data), time.Now())
}

// wants reports whether a lease's holder wants such a token in a file of this name.
func wants(l *Lease, name string, token []byte) bool {
	return slices.ContainsFunc(l.holder.Tokens().Files, func(f vocab.TokenFile) bool {
		return f.File == name && f.Audience == audienceOf(token)
	})
}

// audienceOf returns the audience that a token claims. It verifies nothing.
func audienceOf(token []byte) string {
	var claims struct {
		Audience string `json:"aud"`
	}
	if parts := strings.Split(string(token), "."); len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &claims) // what is no token claims nothing
	}
	return claims.Audience
}

// ServePrunes prunes every share once, from firstPrune on, and then whenever a share is
// due, until ctx ends.
func (k *Keeper) ServePrunes(ctx context.Context) {
	pruner{k}.all(firstPrune)
	k.prunes.Serve(ctx)
}

// pruner removes from shares what nobody needs any more.
type pruner struct{ *Keeper }

// prune is called by the schedule.
func (k pruner) prune(ctx context.Context, id string) {
	l := k.byID(id)
	if l == nil {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, publishDeadline)
	defer cancel()
	next, err := l.Share().Prune(bounded, time.Now())
	if ctx.Err() != nil {
		return
	}
	k.opts.Pruned(l.Share().Dir())
	if isNotExist(err) {
		err = nil // the share is gone: its renewal reports that
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
	k.at(l, next)
}

// notePrune records a prune's problem, "" if it worked, and reports whether that changed.
func (l *Lease) notePrune(problem string) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed = l.untidy[byPrune] != problem
	l.untidy[byPrune] = problem
	return changed
}

// at sets when a share is pruned next. A zero time changes nothing.
func (k pruner) at(l *Lease, at time.Time) {
	k.mu.RLock() // so that Drop can't come in between
	defer k.mu.RUnlock()
	if !at.IsZero() && k.leases[l.id] == l {
		k.prunes.Set(l.id, at, at)
	}
}

// all schedules a prune of every share. The first is due after the given time, the
// others are spread over as long again.
func (k pruner) all(after time.Duration) {
	all, now := k.Keeper.all(), time.Now()
	for i, l := range all {
		k.at(l, now.Add(after+after*time.Duration(i)/time.Duration(len(all))))
	}
}
