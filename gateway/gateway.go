package gateway

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"openshell-vm/drivers"
	"openshell-vm/gateway/audit"
	"openshell-vm/gateway/config"
	"openshell-vm/gateway/door"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/issuer"
	"openshell-vm/gateway/kubernetes"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/listener"
	"openshell-vm/gateway/metrics"
	"openshell-vm/gateway/onrenew"
	"openshell-vm/gateway/reserve"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/secrets"
	"openshell-vm/gateway/seen"
	"openshell-vm/gateway/server"
	"openshell-vm/gateway/shares"
	"openshell-vm/gateway/sources"
	"openshell-vm/gateway/state"
	"openshell-vm/gateway/volumes"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/follow"
	"openshell-vm/internal/hostclock"
	"openshell-vm/tokens"
)

// GCPercent is the program's garbage collection target, see debug.SetGCPercent. Ten
// thousand records are idle memory, and the default target would double it.
const GCPercent = 30

// Options configure a gateway. Its directories are not part of them: see New.
type Options struct {
	Drivers    []drivers.Driver // in the order in which auto prefers them
	Version    string
	Supervisor string          // what restarts it: systemd, parent or none
	Unit       string          // the systemd unit that runs it, if the user made the unit; else ""
	Advice     func() []string // advice for users who log out while something runs, one line each; nil for none
	Log        *slog.Logger    // nil for none
	IdleAfter  time.Duration   // how long nothing must have needed the gateway before it ends; 0: it never ends by itself
	Config     *config.Live    // nil for the defaults
	LookEvery  time.Duration   // how often the socket is checked, and each engine that has something to do; 0 for 2 s
	// TokenProgram is put beside each sandbox's socket: cmd/openshell-token; "" for none.
	TokenProgram string
}

// Gateway keeps the sandboxes and shares of one state directory.
type Gateway struct {
	home      *state.Home
	opts      Options
	log       *slog.Logger
	startedAt time.Time

	keys     *tokens.Keys
	roster   *roster.Roster
	keeper   *lease.Keeper
	shares   *shares.Shares
	volumes  *volumes.Volumes
	secrets  *secrets.Secrets
	fleet    *sandbox.Fleet
	doors    *door.Doors
	reserves *reserve.Reserves
	metrics  *metrics.Metrics
	census   *metrics.Census
	seen     *seen.Watch
	onRenew  *onrenew.Calls
	server   *server.Server
	config   *config.Live
	issuer   *issuer.Issuer
	hook     *issuer.Hook
	listener *listener.Listener
	clusters *kubernetes.Clusters
	follower *follow.Follower

	applying sync.Mutex // held over applyConfig

	lastUse atomic.Int64 // Unix nanoseconds of the last request
	stop    sync.Once
	stopped chan struct{} // closed by Stop
}

// New opens the keys and loads every record. It changes nothing on disk, apart from
// what tokens.OpenKeys does. The caller closes home after Run.
func New(home *state.Home, opts Options) (*Gateway, error) {
	opts.LookEvery = cmp.Or(opts.LookEvery, sandbox.UsualLook)
	opts.Log = cmp.Or(opts.Log, slog.New(slog.DiscardHandler))
	began := time.Now()
	keys, err := tokens.OpenKeys(home.Keys())
	if err != nil {
		return nil, err
	}
	if opts.Config == nil {
		if opts.Config, err = config.Open(config.Reader{}, ""); err != nil {
			return nil, err
		}
	}
	g := &Gateway{home: home, opts: opts, log: opts.Log, startedAt: began, keys: keys,
		stopped: make(chan struct{}), metrics: metrics.New(), config: opts.Config}
	g.issuer = issuer.Open(home.Issuer(), keys, opts.Log)
	g.hook = issuer.NewHook(g.issuer, home.IssuerFiles(), opts.Log)
	g.follower = follow.New(follow.Options{Judge: func(paths ...string) error { return g.roster.MayFollow(paths...) }, Log: opts.Log})
	g.roster = roster.New(home, lease.Options{Keys: keys, Log: opts.Log, Issuer: g.names, MaySign: g.hook.MaySign,
		Beside: func() time.Duration { return g.clusters.Longest() },
		Minted: g.minted, Published: g.published, Failed: g.failed, Warned: g.warned, Follower: g.follower,
		Further: func(l *lease.Lease) []lease.Source {
			return []lease.Source{shares.PresetFiles(l, g.roster.TargetOf(l.ID())), g.shown(l), shares.Files(home, l)}
		}, // add further sources here
		Described: func(l *lease.Lease) []contract.SourceMetadata { return g.shown(l).Described() },
		Outdated:  func(l *lease.Lease, files map[string][]byte) bool { return shares.Outdated(home, l, files) }},
		g.metrics.Repaired)
	g.roster.Audit = audit.New(home.Audit(), opts.Log)
	g.keys.OnChange(g.keysChanged)
	g.keeper = g.roster.Keeper
	g.hook.Ran = g.keeper.HoldKeys
	g.shares = shares.New(g.roster, opts.Drivers, func() time.Duration { return g.config.Now().TTL.Duration })
	g.volumes = volumes.New(g.roster)
	g.secrets = secrets.New(g.roster)
	g.reserves = reserve.New(home, g.keeper, opts.Log)
	g.clusters = kubernetes.New(kubernetes.Options{Log: opts.Log,
		Mint: func(r tokens.Request) (tokens.Raw, tokens.Claims, error) { return g.keeper.Issuer().Mint(r) }})
	g.roster.Withdrawn = g.clusters.Withdrawn
	g.listener = listener.New(listener.Options{Documents: g.documents(), Issuer: func() string { return g.issuer.Name().URL },
		Handler: g.askedFromAfar(), Log: opts.Log})
	g.doors = door.New(g.asked(), opts.TokenProgram, opts.Log)
	g.fleet = sandbox.New(g.roster, sandbox.Options{Drivers: opts.Drivers, LookEvery: opts.LookEvery, StartedAt: g.startedAt,
		Beside: g.reserves.Layers, Volumes: g.volumes, Shares: g.shares, Doors: g.doors})
	g.census = metrics.NewCensus(g.roster)
	g.metrics.Watch(g.census)
	g.onRenew = onrenew.New(g.roster, g.metrics.OnRenewFailed)
	g.seen = seen.New(g.roster, seen.Options{Took: g.metrics.Seen, Late: g.metrics.Unseen, Saw: g.onRenew.Saw, Shares: g.shares})
	g.metrics.WatchUnseen(g.seen.Late)
	g.server = server.New(server.Options{Version: opts.Version, StartedAt: g.startedAt, Supervisor: opts.Supervisor, Unit: opts.Unit,
		Advice: opts.Advice, LookEvery: opts.LookEvery, Stop: g.Stop, Touch: g.touch, Reload: g.Reload, Issuer: g.issuerFacts},
		server.Parts{Keys: keys, Roster: g.roster, Fleet: g.fleet, Shares: g.shares, Volumes: g.volumes, Secrets: g.secrets,
			Reserves: g.reserves, Metrics: g.metrics, Census: g.census, Seen: g.seen, OnRenew: g.onRenew, Config: g.config,
			Issuer: g.issuer, Documents: g.documents(), Hook: g.hook, Listener: g.listener})
	g.keeper.TellUntidyKeys()
	g.touch()
	return g, g.roster.Load(g.known)
}

// shown is the source of a lease's files that are kept fresh from elsewhere.
func (g *Gateway) shown(l *lease.Lease) sources.Shown {
	return sources.Shown{Sources: g.roster.Sources, List: l.Sources(), Auth: l.Share().AuthDir()}
}

// clockStepped plans everything anew that has a time, because the host's clock was set.
func (g *Gateway) clockStepped() {
	g.seen.ClockStepped()
	g.keeper.ClockStepped()
	g.roster.Sources.ClockStepped()
}

// known takes in one record: a sandbox, or a share of the user's own.
func (g *Gateway) known(r *state.Record) error {
	if r.Own() {
		return g.shares.Known(r)
	}
	return g.fleet.Known(r)
}

// Run keeps every token fresh, brings every sandbox to its desired state and serves the
// API. It returns when ctx ends, after Stop, or when nothing has needed the gateway for
// IdleAfter. Sandboxes go on running. It returns state.ErrDeleted if the state directory
// was deleted. It begins in this order:
//
//  1. Every share's token is read, without a lock, and its renewal is planned. A share
//     that hangs is skipped. Then the renewals begin, the most urgent first. None of this
//     depends on an engine, because an engine may hang.
//  2. The engines are asked what runs. The API waits for their answers for a moment only.
//     What should run and does not is resumed through Deliver; the API does not wait for
//     that.
//  3. The API is served. A client finds the states that the engines reported, and each
//     token fresh or being renewed.
//  4. Shares that a killed gateway left half-published are repaired, unless a publish has
//     done it already.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.log.Info("gateway begins", append(g.home.LogAttrs(), "version", g.opts.Version, "sandboxes", len(g.roster.All()))...)

	g.noteBegin()

	tasks, ctx := errgroup.WithContext(ctx)
	run := func(f func(context.Context)) { tasks.Go(func() error { f(ctx); return nil }) }
	run(func(ctx context.Context) {
		select {
		case <-g.stopped:
			cancel()
		case <-ctx.Done():
		}
	})
	g.tellConfig()
	_, _ = g.applyConfig() // it logs what fails, and upkeep tries again
	run(g.wantKinds)
	run(g.listener.Run)
	run(g.hook.Serve)
	run(g.keeper.ServePrunes)
	run(g.roster.Sources.Run)
	run(g.reserves.Run)
	tasks.Go(func() error { return hostclock.Watch(ctx, g.clockStepped) })
	tasks.Go(func() error { return g.upkeep(ctx) })
	g.keeper.PickUp(ctx) // 1
	run(g.keeper.Serve)
	run(g.keeper.ServeKeys)
	run(g.follower.Run)
	run(g.fleet.Run)
	run(g.seen.Run)
	run(g.onRenew.Run)
	go g.fleet.KeepDoors(ctx)                             // nothing waits for it: the file system of a door may hang
	g.fleet.AwaitFirstLook(ctx)                           // 2
	tasks.Go(func() error { return g.server.Serve(ctx) }) // 3
	run(g.keeper.Repair)                                  // 4
	run(g.tidyVolumes)
	err := tasks.Wait()
	g.fleet.AwaitWork()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	g.log.Info("gateway ends; sandboxes go on", "error", err)
	g.doors.CloseAll()
	g.roster.Audit.Close()
	return err
}

// tidyVolumes ends the removals of volumes that a gateway before this one did not end.
func (g *Gateway) tidyVolumes(context.Context) {
	if err := g.volumes.Tidy(); err != nil {
		g.log.Warn("something is left of a removed volume", "error", explain.Line(err))
	}
}

// Stop makes Run return. If Run was not called yet, it returns soon after its call.
func (g *Gateway) Stop() { g.stop.Do(func() { close(g.stopped) }) }

// touch notes that the gateway was used now: IdleAfter counts from here.
func (g *Gateway) touch() { g.lastUse.Store(time.Now().UnixNano()) }

// upkeepEvery is how often the gateway looks after itself.
const upkeepEvery = 10 * time.Second

// upkeep does the gateway's regular work. It ends the gateway if nothing has needed it for
// IdleAfter or if its state directory was deleted. It removes what failed creations and
// removals left of shares and of secrets, deletes keys whose last token has expired, and checks that
// every token that should be renewed is on the schedule.
func (g *Gateway) upkeep(ctx context.Context) error {
	every := upkeepEvery
	if g.opts.IdleAfter > 0 {
		every = min(every, max(g.opts.IdleAfter/4, time.Millisecond))
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	pruned := time.Time{}
	for {
		g.shares.Tidy(ctx)
		g.secrets.Tidy(ctx)
		g.onRenew.Tidy()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := g.roster.Deleted(); err != nil {
			return err
		}
		for _, it := range g.roster.All() {
			it.Uphold()
		}
		g.applyAgain(ctx)
		now := time.Now()
		if now.Sub(pruned) > time.Hour {
			pruned = now
			if err := g.keys.Prune(now); err != nil {
				g.log.Warn("old keys can't be deleted", "error", explain.Line(err))
			}
		}
		if g.idle(now) {
			g.log.Info("nothing needs the gateway: it ends", "after", g.opts.IdleAfter)
			g.Stop()
		}
	}
}

// idle reports whether nothing has needed the gateway for IdleAfter. While something
// needs it, that counts as a use.
func (g *Gateway) idle(now time.Time) bool {
	if g.opts.IdleAfter <= 0 {
		return false
	}
	if g.census.Count(now).Needing > 0 || g.listener.On() {
		g.touch()
		return false
	}
	return now.Sub(time.Unix(0, g.lastUse.Load())) >= g.opts.IdleAfter
}
