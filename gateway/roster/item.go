package roster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/state"
	"openshell-vm/share"
)

// EndDeadline bounds a removal, and a wait for an operation that is under way.
const EndDeadline = time.Minute

// Owner is what makes an item a sandbox or a share of the user's own. Its methods are safe
// for concurrent use.
type Owner interface {
	// Kind is api.KindSandbox or api.KindShare.
	Kind() string
	// Phase says what becomes of the token of an item that has not ended. The caller
	// holds the item's Mu.
	Phase(*state.Record) lease.Phase
	// What it does is a word or two for who can't have its turn.
	Doing() string
	// See lease.Holder.
	Mounted() error
	Restore() (release func())
	Delivered()
	AfterRestart() time.Duration
}

// Item is one record in memory, its lease, and whose it is. It costs no goroutine and no
// descriptor.
type Item struct {
	ID    string
	Lease *lease.Lease
	Owner Owner

	// Op is held by whoever creates, starts, stops or removes it. Publishing needs no
	// such order: the share's own lock gives it.
	Op OpLock

	roster *Roster
	// saving is held while a changed record is on its way to the disk.
	saving sync.Mutex

	// Mu guards the rest, and what the owner keeps by it. It is never held over a system
	// call.
	Mu sync.Mutex
	// Removed says that nothing is left to renew: no engine has it any more, or its share
	// is removed. It is changed by Set.
	Removed bool
	// Problem is one line that says why it can't be brought to where it should be.
	Problem string
	record  *state.Record // replaced, never changed
	gone    bool          // its record, too
}

// NewItem makes the item of a record, which nobody knows before Add. The share is where
// the record says, whether or not it is there.
func (r *Roster) NewItem(record *state.Record, owner Owner) (*Item, error) {
	s, err := share.At(record.Share, r.ShareOptions(record))
	if err != nil {
		return nil, err
	}
	it := &Item{ID: record.ID, Owner: owner, roster: r, record: record}
	it.Lease = lease.New(it.ID, s, holder{it})
	return it, nil
}

// Rec is the record. It is not to be changed: see Update.
func (it *Item) Rec() *state.Record {
	it.Mu.Lock()
	defer it.Mu.Unlock()
	return it.record
}

// RecLocked is Rec for who holds Mu.
func (it *Item) RecLocked() *state.Record { return it.record }

// Set runs f, which may change the state, with the state locked. The schedule follows:
// each change goes through here, and nothing puts a token on the schedule or takes it off
// by hand.
func (it *Item) Set(f func()) {
	it.Mu.Lock()
	defer it.Mu.Unlock()
	f()
	it.Lease.Follow(it.phase())
}

// phase: the caller holds Mu.
func (it *Item) phase() lease.Phase {
	if it.gone || it.Removed {
		return lease.Ended
	}
	return it.Owner.Phase(it.record)
}

// Saving runs f while no other change of the record, or of what lies beside it, is on its
// way to the disk.
func (it *Item) Saving(f func() error) error {
	it.saving.Lock()
	defer it.saving.Unlock()
	return f()
}

// Update changes the record: on disk first, then in memory. An error means that nothing
// has changed.
func (it *Item) Update(change func(*state.Record)) error {
	return it.Saving(func() error {
		next := *it.Rec()
		change(&next)
		if err := it.roster.Home.Save(&next); err != nil {
			return fmt.Errorf("write the record of %s: %w", next.Name, err)
		}
		it.Set(func() { it.record = &next })
		return nil
	})
}

// Acquire waits for its turn to operate on the item, but not for ever.
func (it *Item) Acquire(ctx context.Context, patience time.Duration) error {
	return it.busy(acquireFor(ctx, patience, it.Op.Lock))
}

// AcquireUrgently cancels what is under way, if it is of one of these kinds, and waits for
// its turn.
func (it *Item) AcquireUrgently(ctx context.Context, kinds ...api.State) error {
	why := &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%s %s was stopped or removed meanwhile", it.Owner.Kind(), it.Rec().Name),
		Hint: "openshell-vm ps -a shows what became of it"}
	return it.busy(acquireFor(ctx, EndDeadline, func(ctx context.Context) error { return it.Op.LockUrgently(ctx, why, kinds...) }))
}

// busy explains why the lock could not be had.
func (it *Item) busy(err error) error {
	if err == nil {
		return nil
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%s is busy (%s): %v", it.Rec().Name, it.Owner.Doing(), err),
		Hint: "nothing was done: try again; openshell-vm doctor says how the engines are"}
}

// Release ends an operation on it.
func (it *Item) Release() {
	it.Uphold()
	it.Op.Unlock()
}

// Uphold puts an item back that ought to be renewed and is not. What has to hold at any
// moment: whatever runs, should run, may run, or is a kept share of the user's own stands
// in the schedule, and nothing else does; a token of what is stopped would be a valid
// credential for nobody. Set sees to that. Uphold looks for what was missed all the same:
// it never has anything to do, unless the gateway has a fault.
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

// Present refuses what was removed while somebody waited for it.
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

// Gone says that it is unknown by now.
func (it *Item) Gone() bool {
	it.Mu.Lock()
	defer it.Mu.Unlock()
	return it.gone
}

// GoneLocked is Gone for who holds Mu.
func (it *Item) GoneLocked() bool { return it.gone }

// Blame says why a file of its share was not found: because it was removed meanwhile, or
// is still being made.
func (it *Item) Blame(err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if gone := it.Present(); gone != nil {
		return gone
	}
	_, now := os.Lstat(it.Lease.Share().AuthDir())
	if r := it.Rec(); !r.Made || now == nil { // it may have been made since
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%s was still being made", r.Name), Hint: "try again"}
	}
	return err
}

// shareGone says that what is mounted of its share is not there.
func (it *Item) shareGone() bool {
	_, err := os.Lstat(it.Lease.Share().AuthDir())
	return errors.Is(err, fs.ErrNotExist)
}

// Rotate publishes a new token now.
func (it *Item) Rotate(ctx context.Context) error {
	if err := it.Present(); err != nil {
		return err
	}
	if r := it.Rec(); r.Lost != "" {
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s has no share: %s", r.Name, r.Lost),
			Hint: "openshell-vm start makes it anew, with a fresh token"}
	}
	return it.Blame(it.Deliver(ctx, nil))
}

// Deliver is Keeper.Deliver.
func (it *Item) Deliver(ctx context.Context, start func(context.Context) error) error {
	return it.roster.Keeper.Deliver(ctx, it.Lease, start)
}

// Begin writes the record of what is being made, and makes its directory and its share,
// with a first token. The record comes first: a gateway that finds it without Made takes
// back what there is. The caller holds Op.
func (it *Item) Begin(ctx context.Context) error {
	home := it.roster.Home
	if err := home.MakeSandboxDir(it.ID); err != nil {
		return err
	}
	if err := home.Save(it.Rec()); err != nil {
		return err
	}
	if err := it.roster.MakeShare(it.Rec()); err != nil {
		return err
	}
	return it.Deliver(ctx, nil)
}

// Erase ends it where it runs, by end, and removes its share and at last its record. The
// caller holds Op. Killed or failed in between, it is repeated. Its token is renewed until
// there is nothing that could hold it.
func (it *Item) Erase(ctx context.Context, end func(context.Context) error) error {
	it.Op.MustBeHeld()
	ctx, cancel := context.WithTimeout(ctx, EndDeadline)
	defer cancel()
	if err := it.Update(func(r *state.Record) { r.Want(state.WantGone) }); err != nil {
		// On a full disk a removal is what helps: it goes on without the note.
		it.roster.Log.Warn("a removal begins without a note on disk", "sandbox", it.ID, "error", explain.Line(err))
	}
	if err := end(ctx); err != nil {
		return err
	}
	if err := it.Lease.Share().Remove(ctx); err != nil {
		return err
	}
	it.Set(func() { it.Removed = true })
	if err := it.roster.Home.Forget(it.ID); err != nil {
		return err
	}
	it.roster.Drop(it)
	return nil
}

// ExplainRemoval says what becomes of what could not be removed: the removal goes on if
// the wish stands on disk, and is forgotten otherwise. While it runs it is renewed.
func (it *Item) ExplainRemoval(err error) error {
	if err == nil {
		return nil
	}
	var goesOn bool
	it.Set(func() {
		if goesOn = it.record.Desired == state.WantGone; goesOn {
			it.Problem = "it can't be removed yet: " + explain.Line(err)
		}
	})
	e := *explain.Error(err)
	e.Message = fmt.Sprintf("%s is not removed: %s", it.Rec().Name, e.Message)
	if goesOn {
		e.Hint = "the gateway goes on trying, and renews its token until then; " + e.Hint
	}
	return &e
}

// holder is the item as its lease knows it.
type holder struct{ it *Item }

func (h holder) Name() string                { return h.it.Rec().Name }
func (h holder) TTL() time.Duration          { return h.it.Rec().TTL() }
func (h holder) Mounted() error              { return h.it.Owner.Mounted() }
func (h holder) Restore() func()             { return h.it.Owner.Restore() }
func (h holder) Delivered()                  { h.it.Owner.Delivered() }
func (h holder) AfterRestart() time.Duration { return h.it.Owner.AfterRestart() }

// Reserve makes sure that the record allows a generation before it is used.
func (h holder) Reserve(generation uint64) error {
	if generation <= h.it.Rec().GenerationLimit {
		return nil
	}
	return h.it.Update(func(r *state.Record) { r.GenerationLimit = generation + state.GenerationStep - 1 })
}

// Floor: of a share that was lost, any number up to the limit may have been used.
func (h holder) Floor() uint64 {
	if r := h.it.Rec(); r.Made {
		return r.GenerationLimit + 1
	}
	return 1
}
