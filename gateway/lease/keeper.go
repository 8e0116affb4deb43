package lease

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/internal/text"
	"openshell-vm/tokens"
)

// Options are what a keeper is made with. None may be left out.
type Options struct {
	Keys      *tokens.Keys
	GatewayID string
	Log       *slog.Logger
	// Exists says whether a token's subject is one that tokens are good for.
	Exists func(id string) bool
	// Further are the sources of a lease's content beside the token, in their order.
	Further func(*Lease) []Source
	// Pruned is told that room may have become free beside a share.
	Pruned func(shareDir string)
	// Published and Failed are told of each delivery, for the metrics.
	Published func(took time.Duration)
	Failed    func()
}

// Keeper keeps leases: it delivers their tokens, when they are due and when it is asked
// to, and prunes what is superseded. It is safe for concurrent use.
type Keeper struct {
	opts     Options
	issuer   tokens.Issuer
	renewals *schedule.Schedule
	prunes   *schedule.Schedule // see prune.go

	mu     sync.RWMutex // the prunes' may be taken under it, no other
	leases map[string]*Lease
}

// NewKeeper makes one that does nothing before Serve, but what it is asked for.
func NewKeeper(opts Options) *Keeper {
	k := &Keeper{opts: opts, issuer: tokens.Issuer{Keys: opts.Keys, GatewayID: opts.GatewayID}, leases: map[string]*Lease{}}
	k.renewals = schedule.New(k.renew)
	k.prunes = schedule.New(k.prune)
	return k
}

// Verifier judges tokens as they are at this moment.
func (k *Keeper) Verifier(leeway time.Duration) tokens.Verifier {
	return tokens.Verifier{Keys: k.opts.Keys, GatewayID: k.opts.GatewayID, Leeway: leeway, Exists: k.opts.Exists}
}

// Renewals is the schedule of deliveries, for tests: nothing else changes it by hand.
func (k *Keeper) Renewals() *schedule.Schedule { return k.renewals }

// Prunes is the schedule of prunes, for tests.
func (k *Keeper) Prunes() *schedule.Schedule { return k.prunes }

// Add has a lease's schedules followed from now on.
func (k *Keeper) Add(l *Lease) {
	k.mu.Lock()
	k.leases[l.id] = l
	k.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keeper = k
}

// Drop ends the keeping of a lease that has ended.
func (k *Keeper) Drop(l *Lease) {
	l.Follow(Ended)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leases[l.id] == l {
		delete(k.leases, l.id)
		k.prunes.Remove(l.id)
	}
}

// byID is nil if there is none.
func (k *Keeper) byID(id string) *Lease {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.leases[id]
}

// all are in no order.
func (k *Keeper) all() []*Lease {
	k.mu.RLock()
	defer k.mu.RUnlock()
	all := make([]*Lease, 0, len(k.leases))
	for _, l := range k.leases {
		all = append(all, l)
	}
	return all
}

// EachKept tells of every share that is renewed where it lies and how long its tokens live.
func (k *Keeper) EachKept(f func(shareDir string, ttl time.Duration)) {
	for _, l := range k.all() {
		if _, kept := l.Renewal(); kept {
			f(l.share.Dir(), l.holder.TTL())
		}
	}
}

// Serve renews what is due, the most urgent first, until ctx ends. PickUp should have
// been called.
func (k *Keeper) Serve(ctx context.Context) { k.renewals.Serve(ctx) }

// renew is what the schedule runs.
func (k *Keeper) renew(ctx context.Context, id string) {
	l := k.byID(id)
	if l == nil {
		return
	}
	if _, kept := l.Renewal(); kept {
		_ = k.Deliver(ctx, l, nil) // it has noted and logged it
	}
}

// pickUpTime bounds how long the renewals wait for the shares' tokens to be read. What
// could not be read by then is renewed last.
const pickUpTime = time.Second

// PickUp reads every share's token and plans its renewal. A share that hangs is passed by.
func (k *Keeper) PickUp(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		schedule.Each(ctx, k.all(), 4*runtime.GOMAXPROCS(0), k.pickUp)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(pickUpTime):
		k.opts.Log.Warn("not all tokens could be read in time; those shares are renewed last")
	case <-ctx.Done():
	}
}

// pickUp says when a share is due after a restart: at once, unless it holds a token that
// verifies. It needs no lock of the share's, and leaves a share that is locked or damaged
// to the publish that follows.
func (k *Keeper) pickUp(l *Lease) {
	claims, err := k.read(l, time.Now())
	_, content := k.content(l)
	others := content.Due() // no token is minted yet
	wait := l.holder.AfterRestart()
	ttl := l.holder.TTL()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewal.Renewals > 0 || l.phase != Renewed {
		return // what was published since is newer
	}
	due := time.Time{}
	if err == nil {
		l.renewal.Holds(claims, ttl)
		l.renewal.DueBy(others)
		due = l.renewal.Due
	}
	if earliest := time.Now().Add(wait); wait > 0 && due.Before(earliest) {
		due = earliest
	}
	l.at = due
	k.renewals.Set(l.id, due, l.renewal.ExpiresAt)
}

// read verifies what a share holds, and keeps what could be read of it.
func (k *Keeper) read(l *Lease, now time.Time) (tokens.Claims, error) {
	held, err := Read(l.share.AuthDir(), l.id, k.Verifier(0), now)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewal.Found(held)
	return held.Claims, err
}

// Fresh says whether a share holds a token that verifies and is not due.
func (k *Keeper) Fresh(l *Lease) bool {
	now := time.Now()
	claims, err := k.read(l, now)
	return err == nil && !tokens.Due(now, claims.IssuedAt, l.holder.TTL(), l.id)
}

// TakeUp plans the renewal of a lease that was found, before it is added: at once, unless
// the share holds a token that verifies.
func (k *Keeper) TakeUp(l *Lease) {
	claims, err := k.read(l, time.Now())
	if err != nil {
		return
	}
	ttl := l.holder.TTL()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewal.Holds(claims, ttl)
	l.at = l.renewal.Due
}

// Repair completes what a killed gateway left of shares that are not due yet, one after
// the other: nothing waits for it.
func (k *Keeper) Repair(ctx context.Context) {
	schedule.Each(ctx, k.all(), 1, func(l *Lease) { k.repair(ctx, l) })
}

func (k *Keeper) repair(ctx context.Context, l *Lease) {
	if r, kept := l.Renewal(); !kept || r.Renewals > 0 {
		return // a publish has repaired it
	}
	bounded, cancel := context.WithTimeout(ctx, publishDeadline)
	defer cancel()
	if err := l.share.Repair(bounded); err != nil && ctx.Err() == nil {
		k.opts.Log.Warn("repair failed", "sandbox", l.id, "error", oneLine(err))
	}
}

// ClockStepped looks at every token again: one from the future is renewed now, and the
// schedules find what is overdue.
func (k *Keeper) ClockStepped() {
	now := time.Now()
	for _, l := range k.all() {
		l.mu.Lock()
		if now.Before(l.renewal.IssuedAt) && l.phase == Renewed {
			l.at = now
			k.renewals.Set(l.id, now, now)
		}
		l.mu.Unlock()
	}
	k.renewals.Recheck()
	k.prunes.Recheck()
}

// oneLine is an error's text, whoever wrote it, fit to be shown.
func oneLine(err error) string { return text.Line(err.Error()) }

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
