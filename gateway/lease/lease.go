package lease

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"openshell-vm/internal/vocab"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// Phase says whether a lease's token is renewed.
type Phase int

// The phases. Only a Renewed lease is on the schedule.
const (
	Idle    Phase = iota // nothing that runs needs the token: it is left to expire
	Pending              // a start is under way and has not published yet; then it is renewed
	Renewed              // the token is kept fresh
	Ended                // nothing is left that could use the token
)

// Holder is the owner of a lease: a sandbox, or a share of the user's own. Its methods are
// called without the lease's lock; Reserve is called under the share's lock. They must be
// safe for concurrent use.
type Holder interface {
	Name() string
	TTL() time.Duration // of the token for the gateway, and of each other without its own
	// Tokens are the tokens for other audiences that the share is to have.
	Tokens() vocab.Tokens
	About() tokens.About // what those say of the sandbox
	// Sources are those of the share's further files.
	Sources() []vocab.Source
	// Reserve makes sure that the record covers a generation's number before it is used.
	Reserve(generation uint64) error
	// Floor returns the lowest number for the next generation, for a share of which no
	// generation is known.
	Floor() uint64
	// Mounted returns an error if the running sandbox has another directory mounted than
	// the share's current one.
	Mounted() error
	// Restore makes a share anew if its directory is gone. It returns nil if it could not.
	// Otherwise nobody removes the share until release is called.
	Restore() (release func())
	// Delivered is called after the result of a publish is recorded, also of a failed one.
	Delivered()
	// AfterRestart is how long a new gateway waits before it renews what is due.
	AfterRestart() time.Duration
}

// Lease is a share, what is known of the token in it, and when the next one is due. It has
// no goroutine and no open file. It is safe for concurrent use.
type Lease struct {
	id     string // the tokens' subject
	share  atomic.Pointer[share.Share]
	holder Holder

	// mu guards the rest. It is never held over a system call; a schedule's lock may be
	// taken under it.
	mu      sync.Mutex
	keeper  *Keeper // nil until Keeper.Add
	phase   Phase
	renewal Renewal
	at      time.Time     // when the next delivery is due
	untidy  [2]string     // what a publish and a prune could not tidy up, one line each, or ""
	news    chan struct{} // closed at the next change; nil if nobody waits
	static  *static       // nil unless the token is the user's own
	dirs    int           // directories in the generation that was published last; 0 if none was yet
	held    string        // files for whose change the disk had no room at the last publish
	hasty   bool          // Hasten was called since the sources were asked last
}

// The indexes of Lease.untidy.
const (
	byPublish = iota
	byPrune
)

// New makes the lease of a share. id is the tokens' subject.
func New(id string, s *share.Share, holder Holder) *Lease {
	l := &Lease{id: id, holder: holder}
	l.share.Store(s)
	return l
}

// ID is the tokens' subject.
func (l *Lease) ID() string { return l.id }

// Share is the share on disk.
func (l *Lease) Share() *share.Share { return l.share.Load() }

// Reshare replaces Share by the same share with other options. They hold from the next publish
// or prune on.
func (l *Lease) Reshare(s *share.Share) { l.share.Store(s) }

// Renewal returns what is known of the token, and whether the token is renewed.
func (l *Lease) Renewal() (r Renewal, kept bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewal, l.phase == Renewed
}

// Held are the files, each with a comma after it, for whose change the last publish had no room.
func (l *Lease) Held() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// Warnings returns what could not be tidied up, and what there was no room for, one line each.
func (l *Lease) Warnings() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != "" {
		lines = append(lines, "the disk is full: the token is renewed, but these files are as they were before: "+
			strings.TrimSuffix(l.held, ","))
	}
	for _, line := range l.untidy {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// Follow sets the lease's phase and puts it on the schedule or takes it off. A lease that
// becomes Renewed gets the time that the last delivery or PickUp set. One that becomes Idle
// or Ended also forgets its failures.
func (l *Lease) Follow(phase Phase) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase = phase
	k := l.keeper
	switch {
	case k == nil: // not added yet
	case phase == Renewed:
		if !k.renewals.Has(l.id) {
			k.renewals.Set(l.id, l.at, l.renewal.Urgency())
		}
	default:
		k.renewals.Remove(l.id)
		if phase != Pending { // a failed renewal is not retried
			l.renewal.Forgive()
			l.at = l.renewal.Due
		}
		l.tell()
	}
}

// Tokens are the tokens for other audiences that the share is to have.
func (l *Lease) Tokens() vocab.Tokens { return l.holder.Tokens() }

// Sources are those of the share's further files.
func (l *Lease) Sources() []vocab.Source { return l.holder.Sources() }

// Signed reports whether data is a token that names a key of this gateway's. It verifies nothing.
func (l *Lease) Signed(data []byte) bool {
	l.mu.Lock()
	k := l.keeper
	l.mu.Unlock()
	return k != nil && k.opts.Keys.Know(string(data), time.Now())
}

// lifetimes returns the shortest and the longest lifetime of the lease's tokens.
func (l *Lease) lifetimes() (shortest, longest time.Duration) {
	ttl := l.holder.TTL()
	shortest, longest = ttl, ttl
	for _, f := range l.holder.Tokens().Files {
		shortest, longest = min(shortest, lifetime(f, ttl)), max(longest, lifetime(f, ttl))
	}
	return shortest, longest
}

// directories returns how many directories a generation has: those of the last publish.
func (l *Lease) directories() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dirs
}

// Hasten makes the next delivery due now, because the share may hold other tokens than its
// holder wants. A delivery that is under way may have asked the sources before that: another one
// follows it.
func (l *Lease) Hasten() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hasty = true
	l.schedule(time.Now())
}

// asking notes that the sources are asked now: what was hastened before is in what they give.
func (l *Lease) asking() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hasty = false
}

// Scheduled reports whether a delivery is on the schedule or under way.
func (l *Lease) Scheduled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keeper != nil && l.keeper.renewals.Has(l.id)
}

// Missed reports whether a lease in this phase should be on the schedule and is not. That
// happens only if the gateway has a fault.
func (l *Lease) Missed(phase Phase) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keeper != nil && phase == Renewed && !l.keeper.renewals.Has(l.id)
}

// Lost records that the share is gone, and its token with it. The highest generation
// number stays known.
func (l *Lease) Lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewal.Ended()
	l.at = time.Time{}
}

// floor returns the lowest number that the next generation may have.
func (l *Lease) floor() uint64 {
	l.mu.Lock()
	known := l.renewal.Generation
	l.mu.Unlock()
	if known == 0 {
		return l.holder.Floor()
	}
	return known + 1
}

// schedule sets when the next delivery is due. The caller holds l.mu.
func (l *Lease) schedule(at time.Time) {
	l.at = at
	if l.phase == Renewed && l.keeper != nil {
		l.keeper.renewals.Set(l.id, at, l.renewal.Urgency())
	}
}

// tell wakes all who wait for news of the token. The caller holds l.mu.
func (l *Lease) tell() {
	if l.news != nil {
		close(l.news)
		l.news = nil
	}
}

// hear returns a channel that is closed at the next tell. The caller holds l.mu.
func (l *Lease) hear() <-chan struct{} {
	if l.news == nil {
		l.news = make(chan struct{})
	}
	return l.news
}
