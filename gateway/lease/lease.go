package lease

import (
	"sync"
	"time"

	"openshell-vm/share"
)

// Phase says what becomes of a lease's token.
type Phase int

// The phases. Only what is Renewed stands in the schedule.
const (
	Idle    Phase = iota // nothing runs that needs it: it is left to expire
	Pending              // a start has not come to its delivery yet, which decides
	Renewed              // it is kept fresh
	Ended                // nothing is left that could hold it
)

// Holder is what has a lease: a sandbox, or a share of the user's own. Its methods are
// called with no lock of the lease's held, Reserve under the share's own. They must be
// safe for concurrent use.
type Holder interface {
	Name() string
	TTL() time.Duration // of each token
	// Reserve makes sure that a generation's number is on record before it is used.
	Reserve(generation uint64) error
	// Floor is the lowest number for a share of which nothing is known.
	Floor() uint64
	// Mounted returns an error if what runs has another directory than the share's mounted.
	Mounted() error
	// Restore makes a share anew whose directory is gone. If it is there again nobody
	// removes it until release is called; nil says that it is not.
	Restore() (release func())
	// Delivered is told of each publish that was noted, of a failed one too.
	Delivered()
	// AfterRestart is how long a new gateway waits before it renews what is due.
	AfterRestart() time.Duration
}

// Lease is a share, what is known of the token in it, and when the next is due. It costs
// no goroutine and no descriptor. It is safe for concurrent use.
type Lease struct {
	id     string // of the token's subject
	share  *share.Share
	holder Holder

	// mu guards the rest. It is never held over a system call; a schedule's lock may be
	// taken under it.
	mu      sync.Mutex
	keeper  *Keeper // whose schedules follow; nil until Keeper.Add
	phase   Phase
	renewal Renewal
	at      time.Time     // when the next delivery is due
	untidy  [2]string     // what could not be tidied up, one line each: by a publish, by a prune
	news    chan struct{} // closed at the next change; nil if nobody waits
}

// What could not be tidied up.
const (
	byPublish = iota
	byPrune
)

// New makes the lease of a share, for tokens of this subject.
func New(id string, s *share.Share, holder Holder) *Lease {
	return &Lease{id: id, share: s, holder: holder}
}

// ID is the tokens' subject.
func (l *Lease) ID() string { return l.id }

// Share is the share on disk.
func (l *Lease) Share() *share.Share { return l.share }

// Renewal is what is known of the token. kept says whether it is renewed at all.
func (l *Lease) Renewal() (r Renewal, kept bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewal, l.phase == Renewed
}

// Warnings are one line each.
func (l *Lease) Warnings() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.untidy {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// Follow tells the lease its phase. The schedule follows: what begins to be renewed is
// due when the first source of its content is, or when the last try has to be repeated;
// what ends is forgotten.
func (l *Lease) Follow(phase Phase) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase = phase
	k := l.keeper
	switch {
	case k == nil: // not known yet
	case phase == Renewed:
		if !k.renewals.Has(l.id) {
			k.renewals.Set(l.id, l.at, l.renewal.Urgency())
		}
	default:
		k.renewals.Remove(l.id)
		if phase != Pending { // what failed is not tried again
			l.renewal.Forgive()
			l.at = l.renewal.Due
		}
		l.tell()
	}
}

// Scheduled says whether a delivery stands in the schedule, or is under way.
func (l *Lease) Scheduled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keeper != nil && l.keeper.renewals.Has(l.id)
}

// Missed says of a lease in this phase that its token ought to be renewed, and stands in no
// schedule. It never is so, unless the gateway has a fault.
func (l *Lease) Missed(phase Phase) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keeper != nil && phase == Renewed && !l.keeper.renewals.Has(l.id)
}

// Lost notes that the share is gone, and the token with it. The numbers that were used
// stay known.
func (l *Lease) Lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewal.Ended()
	l.at = time.Time{}
}

// floor is the lowest number that the next generation may have.
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

// tell wakes who waits for news of the token. The caller holds l.mu.
func (l *Lease) tell() {
	if l.news != nil {
		close(l.news)
		l.news = nil
	}
}

// hear gives a channel that is closed at the next news. The caller holds l.mu.
func (l *Lease) hear() <-chan struct{} {
	if l.news == nil {
		l.news = make(chan struct{})
	}
	return l.news
}
