// Package roster keeps all sandboxes and all shares of the user's own: one item for each
// record, by id and by name. Both kinds have a record, a lease and one operation at a time.
// Both are found, changed, erased and checked in the same way. What differs is in their
// [Owner], in package sandbox or package shares.
//
// Locks are taken in this order: an item's Op, its saving, Roster.mu, the keeper's mu, an
// item's Mu, its lease's mu or Sources.mu, a schedule's or a follower's mu. Any of them may be left out. A share's flock
// is taken with none of these held but Op; while it is held, saving and all that come after
// saving may be taken.
package roster

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audit"
	"openshell-vm/gateway/events"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/secrets/vault"
	"openshell-vm/gateway/sources"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/killpoint"
	"openshell-vm/internal/whichdir"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// Roster is all items of one state directory. It is safe for concurrent use.
type Roster struct {
	Home   *state.Home
	Keeper *lease.Keeper // of all their leases
	Log    *slog.Logger
	Events events.Log // what happens to them
	Audit  *audit.Log // what is done with their tokens; nil keeps nothing
	// Sources keep the files fresh that are no tokens.
	Sources *sources.Sources
	Secrets *vault.Vault // which some sources show
	// Withdrawn reports whether a pod's token for an audience is not to be good any more; nil for never.
	Withdrawn func(pod tokens.Pod, audience string) bool

	mu         sync.RWMutex
	items      map[string]*Item // by id
	names      map[string]*Item // by name
	unreadable map[string]api.Unreadable

	repaired func() // see Item.Uphold

	changes atomic.Uint64 // counts changes of records
	known   atomic.Pointer[refusals]
	asker   whichdir.Asker
}

// New makes an empty roster and its keeper. It sets GatewayID, Exists and Pruned in opts.
// repaired is called for each item that Item.Uphold put back on the schedule.
func New(home *state.Home, opts lease.Options, repaired func()) *Roster {
	r := &Roster{Home: home, Log: opts.Log, items: map[string]*Item{}, names: map[string]*Item{},
		unreadable: map[string]api.Unreadable{}, repaired: repaired}
	opts.GatewayID, opts.Exists, opts.Revoked, opts.Pruned = home.ID, r.exists, r.revoked, r.pruned
	r.Keeper = lease.NewKeeper(opts)
	var err error
	if r.Secrets, err = vault.Open(home.Secrets(), home.SecretsKey()); err != nil {
		opts.Log.Warn("which secrets were removed can't be read", "error", explain.Line(err))
	}
	r.Sources = sources.New(sources.Options{Changed: r.sourceChanged, Allowed: r.MayFollow,
		Follower: opts.Follower, Secrets: r.Secrets, Held: r.held, Log: opts.Log})
	return r
}

// Load reads all records and calls know for each one that can be used. The others are
// kept for Unread.
func (r *Roster) Load(know func(*state.Record) error) error {
	records, err := r.Home.LoadAll(r.cantUse)
	if err != nil {
		return fmt.Errorf("load the records: %w", err)
	}
	for _, record := range records {
		if !record.Made {
			record.Desired = state.WantGone // its creation did not end, so no user knows of it
		}
		if err := know(record); err != nil {
			r.cantUse(record.ID, err)
		}
	}
	return nil
}

// pruned refills the reserve with the space that became free, before others take it.
func (r *Roster) pruned(shareDir string) {
	if room := r.Home.RoomOf(filepath.Dir(shareDir)); room != nil {
		room.Again()
	}
}

// revoked reports whether a token was revoked by its user.
func (r *Roster) revoked(c tokens.Claims) bool {
	if c.About.Pod != nil {
		return r.Withdrawn != nil && r.Withdrawn(*c.About.Pod, c.Audience)
	}
	it := r.ByID(c.SandboxID)
	return it != nil && c.Generation <= it.Rec().RevokedGeneration
}

// exists reports whether tokens with this subject are valid.
func (r *Roster) exists(id string) bool {
	it := r.ByID(id)
	if it == nil {
		return false
	}
	_, kept := it.Lease.Renewal()
	return kept || it.Rec().Desired != state.WantGone
}

// ShareOptions returns the options of a record's share. They depend on the record and on
// the file system of the share.
func (r *Roster) ShareOptions(record *state.Record) share.Options {
	return share.Options{
		Durable: !state.OnTmpfs(record.Share),
		Grace:   max(share.DefaultGrace, 2*record.Staleness), Overlap: lease.Overlap,
		Renewed: func(name string, data []byte) bool {
			return r.Keeper.Superseded(record.ID, name, data) || r.Sources.Gave(record.ID, name, data)
		},
		Reserve: r.Home.ReserveOf(record.Share), Step: killpoint.Step(),
	}
}

// MakeShare makes what is missing of a record's share. It also makes the parent directory,
// which may have been on tmpfs too.
func (r *Roster) MakeShare(record *state.Record) error {
	if err := state.MakeDir(filepath.Dir(record.Share)); err != nil {
		return err
	}
	_, err := share.Create(record.Share, r.ShareOptions(record))
	return err
}

// Add puts an item into the roster, and gives it a name if it has none. It fails if the
// name is taken.
func (r *Roster) Add(it *Item) error {
	defer r.changed() // once mu is free
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

// Drop takes an item out of the roster. Its tokens do not verify any more, and its renewals
// end.
func (r *Roster) Drop(it *Item) {
	r.mu.Lock()
	delete(r.items, it.ID)
	if name := it.Rec().Name; r.names[name] == it {
		delete(r.names, name)
	}
	r.mu.Unlock()
	r.changed()
	it.Set(func() { it.gone = true })
	r.Keeper.Drop(it.Lease)
	if it.Rec().Made {
		r.Audit.Write(audit.Event{What: audit.Remove, Sandbox: it.ID, Name: it.Rec().Name})
		it.Tell(api.EventRemoved)
	}
}

// Rename gives an item another name. It fails if that is taken. The caller holds Op.
func (r *Roster) Rename(it *Item, name string) error {
	if err := state.CheckName(name); err != nil {
		return err
	}
	old := it.Rec().Name
	if name == old {
		return nil
	}
	if err := r.claim(it, name); err != nil {
		return err
	}
	err := it.Update(func(rec *state.Record) { rec.Name, rec.Request.Name = name, name })
	if err != nil {
		old, name = name, old // the new name is free again
	}
	r.mu.Lock()
	if r.names[old] == it {
		delete(r.names, old)
	}
	r.mu.Unlock()
	if err == nil {
		it.Tell(api.EventRenamed, "from", old)
	}
	return err
}

// claim takes a name for an item.
func (r *Roster) claim(it *Item, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.names[name]; other != nil {
		return nameTaken(other)
	}
	r.names[name] = it
	return nil
}

// nameTaken is the error for a name that another item has.
func nameTaken(by *Item) error {
	kind, remove := by.Owner.Kind(), "openshell-vm rm "
	if kind == api.KindShare {
		remove = "openshell-vm share rm "
	}
	name := by.Rec().Name
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the name %q is taken by %s %s", name, kind, by.ID),
		Hint: "choose another name, or remove that one: " + remove + name}
}

// ByID returns nil if there is no such item.
func (r *Roster) ByID(id string) *Item {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.items[id]
}

// TargetOf is Item.Target, or the usual place for an id that is not known yet.
func (r *Roster) TargetOf(id string) string {
	if it := r.ByID(id); it != nil {
		return it.Target()
	}
	return contract.AuthDir
}

// ByName finds an item by its whole name. It returns nil if there is none.
func (r *Roster) ByName(name string) *Item {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.names[name]
}

// All returns every item, in no order.
func (r *Roster) All() []*Item {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*Item, 0, len(r.items))
	for _, it := range r.items {
		all = append(all, it)
	}
	return all
}

// Of returns all owners of type T, in no order.
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

// Any reports whether f is true for any owner of type T. f may take an item's Mu.
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

// Find finds an item by its name, its id or a unique prefix of its id.
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
			return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("several ids begin with %q", ref),
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

// Deleted returns state.ErrDeleted if the state directory was deleted and no share is left.
// Then the gateway ends and does not make the directory anew: whoever deleted it wanted
// that, and what still runs could not get a token. As long as one share is left, perhaps in
// the runtime directory, it is renewed and Deleted returns nil. A state directory whose
// file system is not mounted at the moment does not count as deleted.
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

// acquireFor calls lock with a deadline.
func acquireFor(ctx context.Context, patience time.Duration, lock func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return lock(bounded)
}
