package roster

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/vocab"
	"openshell-vm/share"
)

// EndDeadline bounds a removal, and the wait for an operation that is under way.
const EndDeadline = time.Minute

// Owner is the part of an item that differs between a sandbox and a share of the user's
// own. Its methods are safe for concurrent use.
type Owner interface {
	// Kind returns api.KindSandbox or api.KindShare.
	Kind() string
	// Phase says whether the token is renewed, if the item is not removed. The caller
	// holds the item's Mu.
	Phase(*state.Record) lease.Phase
	// Doing returns a few words on the operation under way, for a caller who waited for
	// its turn in vain.
	Doing() string

	// The rest is of lease.Holder.

	Mounted() error
	Restore() (release func())
	Delivered()
	AfterRestart() time.Duration
}

// Item is one record in memory, with its lease and its owner. It has no goroutine and no
// open file.
type Item struct {
	ID    string
	Lease *lease.Lease
	Owner Owner

	// Op is held by whoever creates, starts, stops or removes the item. Publishing does not
	// need it: publishes are ordered by the share's own lock.
	Op OpLock

	roster *Roster
	// saving is held while a changed record is written to disk.
	saving sync.Mutex

	// Mu guards the rest, and the owner's own state. It is never held over a system call.
	Mu sync.Mutex
	// Removed means that nothing is left to renew: the engine does not have the sandbox
	// any more, or the share is removed. Change it only in Set.
	Removed bool
	// Problem is one line that says why the item is not in its desired state.
	Problem string
	record  *state.Record // replaced, never changed
	gone    bool          // the record is removed, too
}

// NewItem makes the item of a record. Nobody finds it before Add. The share need not
// exist yet.
func (r *Roster) NewItem(record *state.Record, owner Owner) (*Item, error) {
	s, err := share.At(record.Share, r.ShareOptions(record))
	if err != nil {
		return nil, err
	}
	it := &Item{ID: record.ID, Owner: owner, roster: r, record: record}
	it.Lease = lease.New(it.ID, s, holder{it})
	return it, nil
}

// Rec returns the record. Do not change it: use Update.
func (it *Item) Rec() *state.Record {
	it.Mu.Lock()
	defer it.Mu.Unlock()
	return it.record
}

// RecLocked is Rec for callers who hold Mu.
func (it *Item) RecLocked() *state.Record { return it.record }

// Set runs f with Mu held, and then updates the schedule. Every change of what Mu guards
// goes through Set. Nothing else puts a token on the schedule or takes it off.
func (it *Item) Set(f func()) {
	it.Mu.Lock()
	defer it.Mu.Unlock()
	f()
	phase := it.phase()
	it.Lease.Follow(phase)
	var shown []vocab.Source
	if phase == lease.Renewed || phase == lease.Pending {
		shown = it.record.Request.Sources
	}
	it.roster.Sources.Show(it.ID, shown)
}

// phase is the lease's phase. The caller holds Mu.
func (it *Item) phase() lease.Phase {
	if it.gone || it.Removed {
		return lease.Ended
	}
	return it.Owner.Phase(it.record)
}

// Target is where a sandbox sees its own share, or a container of the user's own the share.
func (it *Item) Target() string { return cmp.Or(it.Rec().Request.At, contract.AuthDir) }

// Outlast makes an item's share stay readable for who may see what was superseded for as long as
// staleness. It never takes that back.
func (it *Item) Outlast(staleness time.Duration) error {
	if it.Rec().Staleness >= staleness {
		return nil
	}
	if err := it.Update(func(r *state.Record) { r.Staleness = max(r.Staleness, staleness) }); err != nil {
		return err
	}
	s, err := share.At(it.Rec().Share, it.roster.ShareOptions(it.Rec()))
	if err == nil {
		it.Lease.Reshare(s)
	}
	return err
}

// Saving runs f while nothing else writes the record or the files that are kept beside it.
func (it *Item) Saving(f func() error) error {
	it.saving.Lock()
	defer it.saving.Unlock()
	return f()
}

// Update changes the record, on disk first and then in memory. After an error the record in
// memory is unchanged.
func (it *Item) Update(change func(*state.Record)) error {
	return it.UpdateIf(func(r *state.Record) error { change(r); return nil })
}

// UpdateIf is Update with a change that can be refused. Nothing else writes the record or the
// files beside it while change decides.
func (it *Item) UpdateIf(change func(*state.Record) error) error {
	return it.Saving(func() error {
		before := it.Rec()
		next := *before
		if err := change(&next); err != nil {
			return err
		}
		if err := it.roster.Home.Save(&next); err != nil {
			return fmt.Errorf("write the record of %s: %w", next.Name, err)
		}
		it.Set(func() { it.record = &next })
		if writesElse(before, &next) {
			it.roster.changed()
		}
		return nil
	})
}

// Tokens are the tokens for other audiences that the item is to have. A share of the user's
// own has its name as its identity, unless its user gave another.
func (it *Item) Tokens() vocab.Tokens {
	r := it.Rec()
	t := r.Request.Tokens
	if t.Identity == "" && r.Own() {
		t.Identity = r.Name
	}
	return t
}

// Acquire takes Op. It waits for it no longer than patience.
func (it *Item) Acquire(ctx context.Context, patience time.Duration) error {
	return it.busy(acquireFor(ctx, patience, it.Op.Lock))
}

// AcquireUrgently takes Op. If the operation under way is of one of these kinds, it is
// cancelled first. The wait is bounded by EndDeadline.
func (it *Item) AcquireUrgently(ctx context.Context, kinds ...api.State) error {
	why := &api.Error{Code: api.CodeConflict,
		Message: fmt.Sprintf("%s %s was stopped or removed meanwhile", it.Owner.Kind(), it.Rec().Name),
		Hint:    "openshell-vm ps -a shows what became of it"}
	return it.busy(acquireFor(ctx, EndDeadline, func(ctx context.Context) error { return it.Op.LockUrgently(ctx, why, kinds...) }))
}

// busy words the error of a wait for Op.
func (it *Item) busy(err error) error {
	if err == nil {
		return nil
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%s is busy (%s): %v", it.Rec().Name, it.Owner.Doing(), err),
		Hint: "nothing was done: try again; openshell-vm doctor says how the engines are"}
}

// Release ends an operation: it calls Uphold and unlocks Op.
func (it *Item) Release() {
	it.Uphold()
	it.Op.Unlock()
}

// Uphold puts an item back on the schedule if it should be there and is not. The invariant:
// on the schedule are all sandboxes that run, should run or may run, and all shares of the
// user's own, and nothing else. Set keeps it. Uphold checks it once more, and finds
// something only if the gateway has a fault. Stopped sandboxes are not renewed because
// nobody would use that credential.
func (it *Item) Uphold() {
	it.Mu.Lock()
	missed := it.Lease.Missed(it.phase())
	it.Mu.Unlock()
	if !missed {
		return
	}
	it.Set(func() {})
	it.roster.repaired()
	it.roster.Log.Error("its token was not going to be renewed; it is now", "sandbox", it.ID, "name", it.Rec().Name)
}

// Present returns an error if the item was removed or is being removed.
func (it *Item) Present() error {
	it.Mu.Lock()
	defer it.Mu.Unlock()
	switch {
	case it.gone:
		return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("%s %s was removed", it.Owner.Kind(), it.record.Name),
			Hint: "openshell-vm ps -a and openshell-vm share ls list all"}
	case it.record.Desired == state.WantGone:
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%s %s is being removed", it.Owner.Kind(), it.record.Name),
			Hint: "openshell-vm ps -a shows a sandbox until it is gone, and why it is not"}
	}
	return nil
}

// Tell tells those who follow what happens to this item. details are names and values.
func (it *Item) Tell(action string, details ...string) {
	it.tell(it.Rec().Name, action, details)
}

// TellLocked is Tell for callers who hold Mu.
func (it *Item) TellLocked(action string, details ...string) {
	it.tell(it.record.Name, action, details)
}

func (it *Item) tell(name, action string, details []string) {
	e := api.Event{Kind: it.Owner.Kind(), ID: it.ID, Name: name, Action: action, Details: map[string]string{}}
	for i := 0; i+1 < len(details); i += 2 {
		if details[i+1] != "" {
			e.Details[details[i]] = details[i+1]
		}
	}
	it.roster.Events.Tell(e)
}

// Gone reports whether the item was dropped: the roster does not know it any more.
func (it *Item) Gone() bool {
	it.Mu.Lock()
	defer it.Mu.Unlock()
	return it.gone
}

// GoneLocked is Gone for callers who hold Mu.
func (it *Item) GoneLocked() bool { return it.gone }

// maxAbout bounds what a token says of a sandbox, in bytes of each part: the token is read up
// to a limit.
const maxAbout = 256
