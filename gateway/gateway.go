package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/hostclock"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// GCPercent is what the program sets for runtime/debug: ten thousand records are
// idle memory, which the default would double.
const GCPercent = 30

// Options are what a gateway is given beside its directories.
type Options struct {
	Drivers    []drivers.Driver // in the order in which auto prefers them
	Version    string
	Supervisor string          // systemd, parent or none: who restarts it
	Unit       string          // the unit that runs it, if the user made that; "" if none does
	Advice     func() []string // for who leaves something running: one line each; nil for none
	Log        *slog.Logger
	IdleAfter  time.Duration // ends by itself when nothing needed it for so long; 0 for never
	LookEvery  time.Duration // how often engines that are needed, and the socket, are looked at; 0 for 2 s
}

// Gateway keeps the sandboxes of one state directory. New makes one, Run runs it.
type Gateway struct {
	home      *state.Home
	opts      Options
	log       *slog.Logger
	startedAt time.Time
	bootID    string

	keys     *tokens.Keys
	issuer   tokens.Issuer
	verifier tokens.Verifier // without leeway
	drivers  map[string]drivers.Driver
	schedule *schedule.Schedule
	prunes   *schedule.Schedule // see prune.go
	metrics  *metrics
	further  func(*sandbox) []lease.Source // of a share, beside the token

	mu        sync.RWMutex
	sandboxes map[string]*sandbox // by id
	names     map[string]*sandbox // by name

	unreadable map[string]api.Unreadable // by id; see unread.go

	engines map[string]*engine // by driver; what the reconciler knows of each
	probes  probeCache
	workMu  sync.Mutex
	work    sync.WaitGroup // operations that go on without a request
	ending  bool           // no more of them
	lastUse atomic.Int64   // Unix nanoseconds of the last request
	stop    sync.Once
	stopped chan struct{} // closed by Stop
}

// New opens the keys and loads every record. It changes nothing but what
// tokens.OpenKeys does; home stays the caller's to close.
func New(home *state.Home, opts Options) (*Gateway, error) {
	opts.LookEvery = cmp.Or(opts.LookEvery, usualLook)
	keys, err := tokens.OpenKeys(home.Keys())
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		home: home, opts: opts, log: opts.Log, startedAt: time.Now(), bootID: bootID(),
		keys: keys, issuer: tokens.Issuer{Keys: keys, GatewayID: home.ID},
		drivers:   map[string]drivers.Driver{},
		sandboxes: map[string]*sandbox{}, names: map[string]*sandbox{},
		unreadable: map[string]api.Unreadable{},
		engines:    map[string]*engine{},
		stopped:    make(chan struct{}),
	}
	g.verifier = tokens.Verifier{Keys: keys, GatewayID: home.ID, Exists: g.exists}
	for _, d := range opts.Drivers {
		g.drivers[d.Name()] = d
		g.engines[d.Name()] = newEngine(d)
	}
	g.further = func(s *sandbox) []lease.Source { return []lease.Source{g.filesOf(s)} }
	g.schedule = schedule.New(g.renew)
	g.prunes = schedule.New(g.prune)
	g.metrics = newMetrics(g)
	g.tellUntidyKeys()
	g.touch()
	return g, g.loadAll()
}

// loadAll makes the recorded sandboxes known.
func (g *Gateway) loadAll() error {
	records, err := g.home.LoadAll(g.cantUse)
	if err != nil {
		return fmt.Errorf("load the records: %w", err)
	}
	for _, r := range records {
		if !r.Made {
			r.Desired = state.WantGone // nobody was told that it exists
		}
		if err := g.know(r); err != nil {
			g.cantUse(r.ID, err)
		}
	}
	return nil
}

// know makes one recorded sandbox known.
func (g *Gateway) know(r *state.Record) error {
	s := &sandbox{id: r.ID, record: r}
	var err error
	if s.share, err = share.At(r.Share, g.shareOptions(r)); err != nil {
		return err
	}
	if keeper, ok := g.drivers[r.Driver].(drivers.Keeper); ok {
		keeper.Keep(r.ID, r.Object)
	}
	if placed, ok := g.drivers[r.Driver].(drivers.Placed); ok && r.Lost == "" {
		placed.KeepPlace(r.ID, r.Engine)
	}
	return g.add(s)
}

// shareOptions are fixed by the record and by where the share lies.
func (g *Gateway) shareOptions(r *state.Record) share.Options {
	return share.Options{
		Durable: !state.OnTmpfs(r.Share), UID: share.Keep, GID: share.Keep,
		Grace: max(share.DefaultGrace, 2*r.Staleness), Overlap: overlap, Renewed: g.renewed,
		Reserve: g.home.ReserveOf(r.Share), Step: faultStep(),
	}
}

// Run keeps every token fresh, moves every sandbox to where it should be, and
// serves the API, until ctx ends, Stop is asked for or nothing needs the
// gateway any more. Sandboxes go on. It returns state.ErrDeleted once there is no state
// directory any more. The order of its beginning matters:
//
//  1. Every share's token is read, without a lock, and its renewal is planned;
//     a share that hangs is passed by. Then the renewals begin, the most urgent
//     first, before anything that depends on an engine, which may hang.
//  2. The engines are asked what runs, for a moment at most; what should run
//     and doesn't is resumed, through deliver, while the API is served already.
//  3. The API: whoever connects finds observed states, and each token fresh or
//     being renewed.
//  4. Shares that a killed gateway left half-published are repaired, if no
//     publish has done it.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.log.Info("gateway begins", append(g.home.LogAttrs(), "version", g.opts.Version, "sandboxes", len(g.sandboxes))...)

	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		select {
		case <-g.stopped:
			cancel()
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	tasks.Go(func() error { g.prunes.Serve(ctx); return nil })
	g.pruneAll(firstPrune)
	tasks.Go(func() error { return hostclock.Watch(ctx, g.clockStepped) })
	tasks.Go(func() error { return g.upkeep(ctx) })
	tasks.Go(func() error { g.keepReserves(ctx); return nil })
	g.pickUpAll(ctx) // 1
	tasks.Go(func() error { g.schedule.Serve(ctx); return nil })
	tasks.Go(func() error { return g.reconcile(ctx) })
	g.awaitFirstLook(ctx)                                   // 2
	tasks.Go(func() error { return g.serve(ctx) })          // 3
	tasks.Go(func() error { g.repairAll(ctx); return nil }) // 4
	err := tasks.Wait()
	g.awaitWork()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	g.log.Info("gateway ends; sandboxes go on", "error", err)
	return err
}

// Stop makes Run end, now or as soon as it is called.
func (g *Gateway) Stop() { g.stop.Do(func() { close(g.stopped) }) }

// pickUpTime bounds how long the renewals wait for the shares' tokens to be
// read. What could not be read by then is renewed last.
const pickUpTime = time.Second

// pickUpAll reads every share's token and plans its renewal.
func (g *Gateway) pickUpAll(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		schedule.Each(ctx, g.all(), 4*runtime.GOMAXPROCS(0), g.pickUp)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(pickUpTime):
		g.log.Warn("not all tokens could be read in time; those shares are renewed last")
	case <-ctx.Done():
	}
}

// repairAll repairs one share after the other: nothing waits for it.
func (g *Gateway) repairAll(ctx context.Context) {
	schedule.Each(ctx, g.all(), 1, func(s *sandbox) { g.repair(ctx, s) })
}

// background runs work that outlives the request that asked for it. What the
// gateway's end cuts off, the next gateway's reconciler does again.
func (g *Gateway) background(f func()) {
	g.workMu.Lock()
	defer g.workMu.Unlock()
	if !g.ending {
		g.work.Go(f)
	}
}

// awaitWork gives running operations a moment to end before the process does.
func (g *Gateway) awaitWork() {
	g.workMu.Lock()
	g.ending = true
	g.workMu.Unlock()
	done := make(chan struct{})
	go func() {
		g.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		g.log.Warn("operations were cut off; the next gateway continues them")
	}
}

// exists is what the verifier asks of a token's sandbox.
func (g *Gateway) exists(id string) bool {
	s := g.byID(id)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renewed() || s.record.Desired != state.WantGone
}

// touch notes a use, which puts off the gateway's idle end.
func (g *Gateway) touch() { g.lastUse.Store(time.Now().UnixNano()) }
