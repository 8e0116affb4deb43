// Package roster keeps what there is: one item for each record, by id and by name. An item
// is a sandbox or a share of the user's own; both have a record, a lease and one operation
// at a time, and are found, changed, erased and watched over in the same way. What is
// special to either is its owner's: package sandbox or package shares.
//
// Locks are taken in this order, and each may be left out: an item's Op, its saving,
// Roster.mu, the keeper's mu, an item's Mu, its lease's, a schedule's. The share's own lock,
// a file's, is taken with none of these held but Op; under it come saving and what follows.
package roster

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/killpoint"
	"openshell-vm/share"
)

// Roster is all items of one state directory. It is safe for concurrent use.
type Roster struct {
	Home   *state.Home
	Keeper *lease.Keeper // of all their leases
	Log    *slog.Logger

	mu         sync.RWMutex
	items      map[string]*Item // by id
	names      map[string]*Item // by name
	unreadable map[string]api.Unreadable

	repaired func() // see Item.Uphold
}

// New makes an empty one. opts are the keeper's; Exists and Pruned are filled in. repaired
// is told of each token that nothing was going to renew: a fault of the gateway's.
func New(home *state.Home, opts lease.Options, repaired func()) *Roster {
	r := &Roster{Home: home, Log: opts.Log, items: map[string]*Item{}, names: map[string]*Item{},
		unreadable: map[string]api.Unreadable{}, repaired: repaired}
	opts.GatewayID, opts.Exists, opts.Pruned = home.ID, r.exists, r.pruned
	r.Keeper = lease.NewKeeper(opts)
	return r
}

// Load has every record that can be used made known by know. The others are shown.
func (r *Roster) Load(know func(*state.Record) error) error {
	records, err := r.Home.LoadAll(r.cantUse)
	if err != nil {
		return fmt.Errorf("load the records: %w", err)
	}
	for _, record := range records {
		if !record.Made {
			record.Desired = state.WantGone // nobody was told that it exists
		}
		if err := know(record); err != nil {
			r.cantUse(record.ID, err)
		}
	}
	return nil
}

// pruned sets aside what became free, before others take it.
func (r *Roster) pruned(shareDir string) {
	if room := r.Home.RoomOf(filepath.Dir(shareDir)); room != nil {
		room.Again()
	}
}

// exists is what the verifier asks of a token's subject.
func (r *Roster) exists(id string) bool {
	it := r.ByID(id)
	if it == nil {
		return false
	}
	_, kept := it.Lease.Renewal()
	return kept || it.Rec().Desired != state.WantGone
}

// ShareOptions are fixed by the record and by where the share lies.
func (r *Roster) ShareOptions(record *state.Record) share.Options {
	return share.Options{
		Durable: !state.OnTmpfs(record.Share),
		Grace:   max(share.DefaultGrace, 2*record.Staleness), Overlap: lease.Overlap, Renewed: r.Keeper.Superseded,
		Reserve: r.Home.ReserveOf(record.Share), Step: killpoint.Step(),
	}
}

// MakeShare makes what is missing of a share, and its parent: that may have been on tmpfs
// too.
func (r *Roster) MakeShare(record *state.Record) error {
	if err := state.MakeDir(filepath.Dir(record.Share)); err != nil {
		return err
	}
	_, err := share.Create(record.Share, r.ShareOptions(record))
	return err
}

// Add makes an item known, and gives it a name if it has none. It fails if the name is
// taken.
func (r *Roster) Add(it *Item) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := it.record.Name
	if name == "" {
		name = newName(func(n string) bool { return r.names[n] != nil })
		it.record.Name = name
	}
	if other := r.names[name]; other != nil {
		return nameTaken(other)
	}
	r.items[it.ID], r.names[name] = it, it
	r.Keeper.Add(it.Lease)
	it.Set(func() {})
	return nil
}

// Drop makes an item unknown, its token with it, and ends its renewals.
func (r *Roster) Drop(it *Item) {
	r.mu.Lock()
	delete(r.items, it.ID)
	if name := it.Rec().Name; r.names[name] == it {
		delete(r.names, name)
	}
	r.mu.Unlock()
	it.Set(func() { it.gone = true })
	r.Keeper.Drop(it.Lease)
}

// nameTaken is the answer to who wants a name that something else has.
func nameTaken(by *Item) error {
	kind, remove := by.Owner.Kind(), "openshell-vm rm "
	if kind == api.KindShare {
		remove = "openshell-vm share rm "
	}
	name := by.Rec().Name
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the name %q is taken by %s %s", name, kind, by.ID),
		Hint: "choose another name, or remove that one: " + remove + name}
}

// ByID finds an item, nil if there is none.
func (r *Roster) ByID(id string) *Item {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.items[id]
}

// ByName finds an item by its whole name, nil if there is none.
func (r *Roster) ByName(name string) *Item {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.names[name]
}

// All gives every item, in no order.
func (r *Roster) All() []*Item {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*Item, 0, len(r.items))
	for _, it := range r.items {
		all = append(all, it)
	}
	return all
}

// Of gives every item's owner of one type, in no order.
func Of[T Owner](r *Roster) (all []T) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, it := range r.items {
		if owner, ok := it.Owner.(T); ok {
			all = append(all, owner)
		}
	}
	return all
}

// Any says whether any owner of one type is such a one. An item's Mu may be taken in f.
func Any[T Owner](r *Roster, f func(T) bool) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, it := range r.items {
		if owner, ok := it.Owner.(T); ok && f(owner) {
			return true
		}
	}
	return false
}

// Find resolves a ref: a name, an id or a unique prefix of one.
func (r *Roster) Find(ref string) (*Item, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if it := r.names[ref]; it != nil {
		return it, nil
	}
	if it := r.items[ref]; it != nil {
		return it, nil
	}
	var found *Item
	for id, it := range r.items {
		if ref == "" || !strings.HasPrefix(id, ref) {
			continue
		}
		if found != nil {
			return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("several sandboxes' ids begin with %q", ref),
				Hint: "give more of the id, or the name: openshell-vm ps -a"}
		}
		found = it
	}
	if err := r.refuseUnread(ref); found == nil && err != nil {
		return nil, err
	}
	if found == nil {
		return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no sandbox %q", ref),
			Hint: "openshell-vm ps -a lists all"}
	}
	return found, nil
}

// Deleted says whether everything is gone that the gateway could need. Whoever deletes the
// state directory wants none of it any more: keys, records and shares are gone, and what
// still runs can be given no token. So nothing makes it anew, and no process stays for it.
// A file system that is not mounted for the moment is another thing: it comes back with
// all that was there. As long as a single share is left, perhaps in the runtime directory,
// it is renewed.
func (r *Roster) Deleted() error {
	if !r.Home.Deleted() {
		return nil
	}
	for _, it := range r.All() {
		if !it.shareGone() {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", state.ErrDeleted, r.Home.State)
}

// acquireFor bounds a wait for an item's turn.
func acquireFor(ctx context.Context, patience time.Duration, lock func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return lock(bounded)
}
