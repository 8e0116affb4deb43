package lease

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/follow"
	"openshell-vm/internal/text"
	"openshell-vm/share/blanks"
	"openshell-vm/tokens"
)

// Options are what a keeper is made with. All that says nothing of nil is required.
type Options struct {
	Keys      *tokens.Keys
	GatewayID string
	Log       *slog.Logger
	// Issuer returns the name that tokens get now, as in tokens.Issuer, and the names before
	// whose tokens may be good at the time now. Nil means the gateway's own, always.
	Issuer func(now time.Time) (url, trustDomain string, former []tokens.Former)
	// MaySign returns when a key that is published ahead may begin to sign: not before others
	// can know it. Nil means when it was to begin.
	MaySign func(key tokens.KeyInfo, now time.Time) time.Time
	// Beside returns the longest lifetime of tokens that are made for no lease: the keys that signed
	// them verify as long. Nil means that there are none.
	Beside func() time.Duration
	// Exists reports whether tokens with this subject are valid.
	Exists func(id string) bool
	// Revoked reports whether a token that is good otherwise was revoked; nil if none ever is.
	Revoked func(tokens.Claims) bool
	// Further returns a lease's sources after the token, in order.
	Further func(*Lease) []Source
	// Described is what the share's metadata says of the files with sources; nil for nothing.
	Described func(*Lease) []contract.SourceMetadata
	// Outdated reports whether a share that holds these files lacks one beside its tokens, or has one too
	// many, as after a gateway was killed between a change and its publish; nil for never.
	Outdated func(l *Lease, files map[string][]byte) bool
	// Follower follows the users' own tokens. Nil means that their files are read only when
	// nothing good is known of them.
	Follower *follow.Follower
	// Warned is called when something is wrong with a user's own token; nil for nobody. reason
	// is one line.
	Warned func(l *Lease, reason string)
	// Pruned is called after each prune: there may be more space on the share's disk.
	Pruned func(shareDir string)
	// Minted is called for each token before it is in its share, where it may never get; nil for
	// nobody.
	Minted func(l *Lease, token tokens.Claims)
	// Published and Failed are called after each delivery, for the metrics and for who
	// follows what happens. reason is one line.
	Published func(l *Lease, generation uint64, took time.Duration)
	Failed    func(l *Lease, reason string)
}

// Keeper keeps leases. It delivers their tokens, when they are due and when it is asked
// to, and removes old generations. It is safe for concurrent use.
type Keeper struct {
	opts     Options
	renewals *schedule.Schedule
	prunes   *schedule.Schedule // see prune.go
	begins   *schedule.Schedule // see keys.go
	expiries *schedule.Schedule // see static.go

	mu     sync.RWMutex // only the lock of prunes may be taken under it
	leases map[string]*Lease
}

// NewKeeper makes a keeper without leases. It renews nothing by itself before Serve, and
// prunes nothing before ServePrunes.
func NewKeeper(opts Options) *Keeper {
	k := &Keeper{opts: opts, leases: map[string]*Lease{}}
	k.renewals = schedule.New(k.renew)
	k.prunes = schedule.New(pruner{k}.prune)
	k.begins = schedule.New(turns{k}.begin)
	k.expiries = schedule.New(followed{k}.expiring)
	return k
}

// Verifier returns a verifier for the current tokens of this gateway.
func (k *Keeper) Verifier(leeway time.Duration) tokens.Verifier {
	i, former := k.issuer(time.Now())
	return tokens.Verifier{Keys: i.Keys, GatewayID: i.GatewayID, URL: i.URL, TrustDomain: i.TrustDomain, Former: former,
		Leeway: leeway, Exists: k.opts.Exists, Revoked: k.opts.Revoked}
}

// Issuer returns who mints tokens now.
func (k *Keeper) Issuer() tokens.Issuer {
	i, _ := k.issuer(time.Now())
	return i
}

func (k *Keeper) issuer(now time.Time) (i tokens.Issuer, former []tokens.Former) {
	i = tokens.Issuer{Keys: k.opts.Keys, GatewayID: k.opts.GatewayID}
	if k.opts.Issuer != nil {
		i.URL, i.TrustDomain, former = k.opts.Issuer(now)
	}
	return i, former
}

// renamed reports whether a share holds tokens of a former issuer.
func (k *Keeper) renamed(r Renewal) bool {
	now := k.Issuer()
	other := func(issuer, subject string) bool { return issuer != "" && !now.Named(issuer, subject) }
	return other(r.Issuer, r.Subject) || slices.ContainsFunc(r.Files, func(t Issued) bool { return other(t.Issuer, t.Subject) })
}

// Renewals is the schedule of deliveries. It is exported for tests; nothing else outside
// this package uses it.
func (k *Keeper) Renewals() *schedule.Schedule { return k.renewals }

// Prunes is the schedule of prunes, for tests.
func (k *Keeper) Prunes() *schedule.Schedule { return k.prunes }

// Add takes a lease in: from now on its phase decides whether it is scheduled.
func (k *Keeper) Add(l *Lease) {
	k.mu.Lock()
	k.leases[l.id] = l
	k.mu.Unlock()
	l.mu.Lock()
	l.keeper = k
	l.mu.Unlock()
	followed{k}.begin(l)
}

// Drop forgets a lease that has ended.
func (k *Keeper) Drop(l *Lease) {
	l.Follow(Ended)
	followed{k}.end(l)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leases[l.id] == l {
		delete(k.leases, l.id)
		k.prunes.Remove(l.id)
	}
}

// byID returns nil if there is no such lease.
func (k *Keeper) byID(id string) *Lease {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.leases[id]
}

// all returns every lease, in no order.
func (k *Keeper) all() []*Lease {
	k.mu.RLock()
	defer k.mu.RUnlock()
	all := make([]*Lease, 0, len(k.leases))
	for _, l := range k.leases {
		all = append(all, l)
	}
	return all
}

// EachKept calls f for every lease that is renewed, with its share's directory, the shortest
// lifetime of its tokens, and how many blanks of a reserve each renewal takes.
func (k *Keeper) EachKept(f func(shareDir string, ttl time.Duration, blanks int)) {
	for _, l := range k.all() {
		if _, kept := l.Renewal(); kept {
			shortest, _ := l.lifetimes()
			f(l.Share().Dir(), shortest, blanks.For(2+len(l.holder.Tokens().Files), l.directories())) // and the metadata
		}
	}
}

// Serve renews what is due, the most urgent first, and warns of users' own tokens that expire
// soon, until ctx ends. Call PickUp before.
func (k *Keeper) Serve(ctx context.Context) {
	var warnings sync.WaitGroup
	warnings.Go(func() { k.expiries.Serve(ctx) })
	k.renewals.Serve(ctx)
	warnings.Wait()
}

// renew is called by the schedule.
func (k *Keeper) renew(ctx context.Context, id string) {
	l := k.byID(id)
	if l == nil {
		return
	}
	if _, kept := l.Renewal(); kept {
		_ = deliver(ctx, k, l, true, nil) // it has recorded and logged the error
	}
}

// pickUpTime bounds how long the renewals wait until the shares' tokens are read. Shares
// that could not be read by then are renewed last.
const pickUpTime = time.Second

// PickUp reads every share's token and plans its renewal. A share that hangs is skipped
// after pickUpTime.
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

// pickUp sets when a share is due after a restart. If it holds the tokens and files that it should, and
// the tokens verify, that is when the first of them is to be renewed; otherwise it is now. In either
// case it is not before the holder's AfterRestart. pickUp does not take the share's lock. If a share is locked or
// damaged, the next publish finds that out.
func (k *Keeper) pickUp(l *Lease) {
	now := time.Now()
	held, err := k.read(l, now)
	others := k.content(l).Due() // no token is minted yet
	wait := l.holder.AfterRestart()
	ttl := l.ttl()
	known := false
	defer func() {
		if known {
			followed{k}.plan(l, held.Own)
		}
	}()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewal.Renewals > 0 || l.phase != Renewed {
		return // something newer was published in the meantime
	}
	due := time.Time{}
	if err == nil {
		l.renewal.Holds(held.Claims, ttl, held.Files)
		l.renewal.DueBy(others)
		due, known = l.renewal.Due, true
	}
	if held.Differs || k.renamed(l.renewal) {
		due = time.Time{}
	}
	if earliest := now.Add(wait); wait > 0 && due.Before(earliest) {
		due = earliest
	}
	l.at = due
	k.renewals.Set(l.id, due, l.renewal.Urgency())
}

// read verifies what a share holds and records what could be read of it.
func (k *Keeper) read(l *Lease, now time.Time) (Held, error) {
	held, err := l.wanted().read(l.Share().AuthDir(), k.Verifier(0), now)
	if k.opts.Outdated != nil && held.all != nil && k.opts.Outdated(l, held.all) {
		held.Differs = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewal.Found(held)
	return held, err
}

// Fresh reports whether a share holds the tokens that it should, and all of them verify and
// are not due.
func (k *Keeper) Fresh(l *Lease) bool {
	now := time.Now()
	held, err := k.read(l, now)
	return err == nil && held.Own == nil &&
		k.Issuer().Named(held.Claims.Issuer, held.Claims.Subject) && now.Before(held.due(now, l.holder.TTL()))
}

// TakeUp plans the renewal of an adopted lease, before Add. It is due at once, unless the
// share holds the tokens that it should.
func (k *Keeper) TakeUp(l *Lease) {
	held, err := k.read(l, time.Now())
	if err != nil {
		return
	}
	ttl := l.ttl()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewal.Holds(held.Claims, ttl, held.Files)
	if !held.Differs && !k.renamed(l.renewal) {
		l.at = l.renewal.Due
	}
}

// Repair completes publishes that a killed gateway left unfinished. It does so only for
// shares that were not published since, one after the other: nothing waits for it.
func (k *Keeper) Repair(ctx context.Context) {
	schedule.Each(ctx, k.all(), 1, func(l *Lease) { k.repair(ctx, l) })
}

func (k *Keeper) repair(ctx context.Context, l *Lease) {
	if r, kept := l.Renewal(); !kept || r.Renewals > 0 {
		return // a publish has repaired it already
	}
	bounded, cancel := context.WithTimeout(ctx, publishDeadline)
	defer cancel()
	if err := l.Share().Repair(bounded); err != nil && ctx.Err() == nil {
		k.opts.Log.Warn("repair failed", "sandbox", l.id, "error", oneLine(err))
	}
}

// ClockStepped is called after the host's clock was set. A token that was issued in the
// future is renewed now, and the schedules look again for what is due.
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
	k.begins.Recheck()
	k.expiries.Recheck()
}

// oneLine returns an error's text as one printable line, whoever wrote it.
func oneLine(err error) string { return text.Line(err.Error()) }

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
