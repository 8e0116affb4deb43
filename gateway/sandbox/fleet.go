// Package sandbox runs sandboxes: each is a lease plus an engine. It makes, starts, stops
// and removes them for users. A reconciler compares what the engines report with what the
// records want and acts on the difference (reconcile.go). Its rule is one pure function
// (decide).
//
// What stands for itself lies below: request judges what is asked for, engines chooses who does
// it, ports holds ports of the host, decide is the reconciler's rule, and inside is what clients
// do with a sandbox that is there.
//
// Every start goes through Item.Deliver: nothing starts without a fresh token in its share.
//
// Locks: an engine's mu comes before all locks that package roster lists. A sandbox's own
// state is guarded by its item's Mu.
package sandbox

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/door"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox/engines"
	"openshell-vm/gateway/shares"
	"openshell-vm/gateway/state"
	"openshell-vm/gateway/volumes"
	"openshell-vm/internal/procfs"
)

// Options are what a fleet is made with.
type Options struct {
	Drivers   []drivers.Driver // in the order in which auto prefers them
	LookEvery time.Duration    // how often an engine that has something to do is asked; 0 for 2 s
	StartedAt time.Time        // when the gateway was started
	// Volumes are what mounts of volumes are of.
	Volumes *volumes.Volumes
	// Shares are what sandboxes see beside their own.
	Shares *shares.Shares
	// Doors are the sandboxes' sockets.
	Doors *door.Doors
	// Beside returns further lines of doctor's on an engine.
	Beside func(drivers.Info) []drivers.Fact
}

// Fleet is all sandboxes of a roster. It is safe for concurrent use.
type Fleet struct {
	Engines *engines.Engines

	roster  *roster.Roster
	home    *state.Home
	log     *slog.Logger
	opts    Options
	bootID  string
	engines map[string]*engine // by driver
	work    work
}

// New makes the fleet of a roster.
func New(r *roster.Roster, opts Options) *Fleet {
	opts.LookEvery = cmp.Or(opts.LookEvery, UsualLook)
	bootID, _ := procfs.BootID() // "" where it can't be known
	f := &Fleet{Engines: engines.New(opts.Drivers, opts.Beside), roster: r, home: r.Home, log: r.Log, opts: opts, bootID: bootID,
		engines: map[string]*engine{}}
	for _, d := range opts.Drivers {
		f.engines[d.Name()] = newEngine(d)
	}
	return f
}

// Known takes in a sandbox that has a record, and tells its driver the recorded object and
// place.
func (f *Fleet) Known(r *state.Record) error {
	s, err := f.sandbox(r)
	if err != nil {
		return err
	}
	if keeper, ok := s.engine.driver.(drivers.Keeper); ok {
		keeper.Keep(r.ID, r.Object)
	}
	if placed, ok := s.engine.driver.(drivers.Placed); ok && r.Lost == "" {
		placed.KeepPlace(r.ID, r.Engine)
	}
	return f.roster.Add(s.Item)
}

// sandbox makes the Sandbox of a record. Nobody finds it before Roster.Add.
func (f *Fleet) sandbox(r *state.Record) (s *Sandbox, err error) {
	s = &Sandbox{fleet: f, engine: f.engines[r.Driver]}
	if s.engine == nil { // another version made it: its token is renewed all the same
		s.engine = newEngine(absent(r.Driver))
	}
	if s.Item, err = f.roster.NewItem(r, s); err != nil {
		return nil, err
	}
	s.tell = s.TellLocked
	return s, nil
}

// All returns every sandbox, in no order.
func (f *Fleet) All() []*Sandbox { return roster.Of[*Sandbox](f.roster) }

// get finds a sandbox by its id. It returns nil if there is none.
func (f *Fleet) get(id string) *Sandbox {
	if it := f.roster.ByID(id); it != nil {
		s, _ := it.Owner.(*Sandbox)
		return s
	}
	return nil
}

// Find finds a sandbox by its name, its id or a unique prefix of its id.
func (f *Fleet) Find(ref string) (*Sandbox, error) {
	it, err := f.roster.Find(ref)
	if err != nil {
		return nil, err
	}
	if s, ok := it.Owner.(*Sandbox); ok {
		return s, nil
	}
	return nil, &api.Error{Code: api.CodeInvalid,
		Message: fmt.Sprintf("%s is a share for a container of your own, not a sandbox", it.Rec().Name),
		Hint:    "its container is your engine's to start and stop; for the share see openshell-vm share --help"}
}

// Run brings every sandbox to its desired state, until ctx ends. Each engine has a goroutine
// of its own, so one that hangs delays no other. When Run returns, operations may still be
// under way: see AwaitWork.
func (f *Fleet) Run(ctx context.Context) {
	var watchers sync.WaitGroup
	for _, e := range f.engines {
		watchers.Go(func() { f.watch(ctx, e) })
	}
	watchers.Wait()
}

// AwaitWork waits up to 5 s for operations that no request waits for. No more are begun.
func (f *Fleet) AwaitWork() {
	if !f.work.end(5 * time.Second) {
		f.log.Warn("operations were cut off; the next gateway continues them")
	}
}

// work are the operations under way that no request waits for, mostly the reconciler's. If
// the gateway's end cuts one off, the next gateway's reconciler does it again.
type work struct {
	mu     sync.Mutex
	all    sync.WaitGroup
	ending bool
}

// begin runs f in a goroutine, unless end was called.
func (w *work) begin(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ending {
		w.all.Go(f)
	}
}

// end lets nothing begin any more, and waits for what is under way. It returns false if
// that took longer than patience.
func (w *work) end(patience time.Duration) bool {
	w.mu.Lock()
	w.ending = true
	w.mu.Unlock()
	done := make(chan struct{})
	go func() {
		w.all.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(patience):
		return false
	}
}
