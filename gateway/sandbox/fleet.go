// Package sandbox runs sandboxes: each is a lease plus an engine. It makes, starts, stops
// and removes them for users, and a reconciler moves what the engines report to what the
// records want (reconcile.go), by a rule that is one pure function (decide.go).
//
// Every start goes through Item.Deliver: nothing starts without a fresh token in its share.
//
// Locks: an engine's mu comes before all that package roster names; what a sandbox keeps
// here is guarded by its item's Mu.
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
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/procfs"
)

// Options are what a fleet is made with.
type Options struct {
	Drivers   []drivers.Driver // in the order in which auto prefers them
	LookEvery time.Duration    // how often engines that are needed are looked at; 0 for 2 s
	StartedAt time.Time        // of the gateway
	// Beside are doctor's further lines on an engine.
	Beside func(drivers.Info) []drivers.Fact
}

// Fleet is all sandboxes of a roster. It is safe for concurrent use.
type Fleet struct {
	roster  *roster.Roster
	home    *state.Home
	log     *slog.Logger
	opts    Options
	bootID  string
	engines map[string]*engine // by driver
	probes  probeCache
	work    work
}

// New makes the fleet of a roster.
func New(r *roster.Roster, opts Options) *Fleet {
	opts.LookEvery = cmp.Or(opts.LookEvery, UsualLook)
	bootID, _ := procfs.BootID() // "" where it can't be known
	f := &Fleet{roster: r, home: r.Home, log: r.Log, opts: opts, bootID: bootID, engines: map[string]*engine{}}
	for _, d := range opts.Drivers {
		f.engines[d.Name()] = newEngine(d)
	}
	return f
}

// Known takes in a sandbox that has a record.
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

// sandbox makes one of a record, which nobody knows yet.
func (f *Fleet) sandbox(r *state.Record) (s *Sandbox, err error) {
	s = &Sandbox{fleet: f, engine: f.engines[r.Driver]}
	if s.engine == nil { // of a newer gateway's: its token is renewed all the same
		s.engine = newEngine(absent(r.Driver))
	}
	s.Item, err = f.roster.NewItem(r, s)
	return s, err
}

// All gives every sandbox, in no order.
func (f *Fleet) All() []*Sandbox { return roster.Of[*Sandbox](f.roster) }

// get finds a sandbox by its id, nil if there is none.
func (f *Fleet) get(id string) *Sandbox {
	if it := f.roster.ByID(id); it != nil {
		s, _ := it.Owner.(*Sandbox)
		return s
	}
	return nil
}

// Find resolves a ref: a name, an id or a unique prefix of one.
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

// Run moves every sandbox to its desired state until ctx ends, each engine on its own: one
// that hangs delays no other. What it has begun may go on: see AwaitWork.
func (f *Fleet) Run(ctx context.Context) {
	var watchers sync.WaitGroup
	for _, e := range f.engines {
		watchers.Go(func() { f.watch(ctx, e) })
	}
	watchers.Wait()
}

// AwaitWork gives running operations a moment to end before the process does. No more are
// begun.
func (f *Fleet) AwaitWork() {
	if !f.work.end(5 * time.Second) {
		f.log.Warn("operations were cut off; the next gateway continues them")
	}
}

// work is what goes on without the request that asked for it. What the gateway's end cuts
// off, the next gateway's reconciler does again.
type work struct {
	mu     sync.Mutex
	all    sync.WaitGroup
	ending bool
}

// begin runs f beside, unless the end has begun.
func (w *work) begin(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ending {
		w.all.Go(f)
	}
}

// end lets nothing begin any more, and says whether all that did has ended in time.
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
