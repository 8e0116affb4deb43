package tokens

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// DefaultTTL is the lifetime of a token when the user names none.
const DefaultTTL = time.Hour

// MaxTTL is the longest lifetime of a token. Whoever has copied one has it for
// no longer than a day, and an old key verifies for no longer. A gateway that is down
// for longer than a token lives gives each sandbox a fresh one when it is back.
const MaxTTL = 24 * time.Hour

const (
	// leastTTL is what Mint takes at least: less is over before it can be read.
	leastTTL = skew + 2*time.Second

	// slack is what may pass between the renewal and the expiry beside the
	// driver's staleness: retry 3 s, scheduling 1 s, skew 1 s, truncation 1 s.
	slack = 6 * time.Second

	// skew is how far a sandbox's clock may be from its host's: a guest's is
	// set by a message that takes its time. A token is dated back by it, and its
	// renewal counts from that date, so only a clock that is ahead uses the slack up.
	skew = time.Second
)

// CacheTime is how long readers in the wild keep a token file's content.
const CacheTime = 10 * time.Minute

// RenewAt is when a token issued at issued with lifetime ttl is to be
// replaced: issued + ttl × (0.50 ± 0.05). The deviation depends on the sandbox
// alone, so one sandbox's renewals keep their distance and many sandboxes
// started at once spread out.
func RenewAt(issued time.Time, ttl time.Duration, sandboxID string) time.Time {
	sum := sha256.Sum256([]byte(sandboxID))
	spread := float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32) // [0, 1)
	return issued.Add(time.Duration(float64(ttl) * (0.45 + 0.10*spread)))
}

// Due says whether the token is to be renewed now: its time has come, or the
// clock went back behind its issue, so that nothing is known of its age.
func Due(now, issued time.Time, ttl time.Duration, sandboxID string) bool {
	return now.Before(issued) || !now.Before(RenewAt(issued, ttl, sandboxID))
}

// MinTTL is the smallest lifetime, in whole seconds, for a driver with this
// staleness bound: what is left after the latest renewal, 0.45 of it, must be
// longer than the staleness and 6 s.
func MinTTL(staleness time.Duration) time.Duration {
	bound := (staleness + slack) * 100 / 45
	return bound.Truncate(time.Second) + time.Second
}

// TTLError says that a lifetime is shorter than Least or longer than Most. It
// wraps ErrTTL or ErrLongTTL.
type TTLError struct {
	TTL         time.Duration
	Least, Most time.Duration // what works here, both included
}

// Error names the bound that is passed.
func (e *TTLError) Error() string {
	if e.TTL > e.Most {
		return fmt.Sprintf("token lifetime %v: %v: at most %dh, so that a copied token is soon worthless", e.TTL, ErrLongTTL, int(e.Most.Hours()))
	}
	return fmt.Sprintf("token lifetime %v: %v: the smallest that works here is %v", e.TTL, ErrTTL, e.Least)
}

// Unwrap gives ErrTTL or ErrLongTTL.
func (e *TTLError) Unwrap() error {
	if e.TTL > e.Most {
		return ErrLongTTL
	}
	return ErrTTL
}

// CheckTTL refuses a lifetime below MinTTL or above MaxTTL with a *TTLError.
func CheckTTL(ttl, staleness time.Duration) error {
	least := MinTTL(staleness)
	if ttl > MaxTTL || ttl < least {
		return &TTLError{TTL: ttl, Least: least, Most: MaxTTL}
	}
	return nil
}

// OutlivesCaches says whether a program that keeps a token file's content for as
// long as CacheTime uses no expired token: it may read just before a renewal.
func OutlivesCaches(ttl time.Duration) bool { return ttl/2 >= CacheTime }
