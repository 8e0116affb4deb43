package tokens

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// DefaultTTL is the lifetime of a token when the user names none.
const DefaultTTL = time.Hour

// MaxTTL is the longest lifetime of a token. So a copied token is of use for a day at most,
// and an old key need not verify for longer. If a gateway is down for longer than a token
// lives, each sandbox gets a fresh one when the gateway is back.
const MaxTTL = 24 * time.Hour

const (
	// leastTTL is the smallest lifetime that Mint accepts. A shorter one could be over
	// before anybody reads the token.
	leastTTL = skew + 2*time.Second

	// slack is the time that may pass between the renewal and the expiry, beside the
	// driver's staleness: retry 3 s, scheduling 1 s, skew 1 s, truncation 1 s.
	slack = 6 * time.Second

	// skew is how far a sandbox's clock may be from its host's: a guest's clock is set by a
	// message, and that takes time. A token is dated back by it, and the renewal counts
	// from that date. So only a clock that is ahead uses up the slack.
	skew = time.Second
)

// CacheTime is how long some SDKs cache a token file's content.
const CacheTime = 10 * time.Minute

// RenewAt returns when to replace a token that was issued at issued with lifetime ttl:
// issued + ttl × (0.50 ± 0.05). The deviation depends only on the sandbox. So one sandbox's
// renewals come at equal distances, and those of many sandboxes that started at once are
// spread out.
func RenewAt(issued time.Time, ttl time.Duration, sandboxID string) time.Time {
	sum := sha256.Sum256([]byte(sandboxID))
	spread := float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32) // [0, 1)
	return issued.Add(time.Duration(float64(ttl) * (0.45 + 0.10*spread)))
}

// Due reports whether to renew the token now: its time has come, or the clock was set back
// to before its issue, so that its age is unknown.
func Due(now, issued time.Time, ttl time.Duration, sandboxID string) bool {
	return now.Before(issued) || !now.Before(RenewAt(issued, ttl, sandboxID))
}

// MinTTL returns the smallest lifetime, in whole seconds, for a driver with this staleness
// bound. After the latest renewal 0.45 of the lifetime is left. That must be longer than
// the staleness and 6 s together.
func MinTTL(staleness time.Duration) time.Duration {
	bound := (staleness + slack) * 100 / 45
	return bound.Truncate(time.Second) + time.Second
}

// TTLError says that a lifetime is shorter than Least or longer than Most. It wraps ErrTTL
// or ErrLongTTL.
type TTLError struct {
	TTL         time.Duration
	Least, Most time.Duration // the lifetimes that work here, both included
}

func (e *TTLError) Error() string {
	if e.TTL > e.Most {
		return fmt.Sprintf("token lifetime %v: %v: at most %dh, so that a copied token is soon worthless",
			e.TTL, ErrLongTTL, int(e.Most.Hours()))
	}
	return fmt.Sprintf("token lifetime %v: %v: the smallest that works here is %v", e.TTL, ErrTTL, e.Least)
}

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

// OutlivesCaches reports whether a program may cache a token file's content for CacheTime
// and never use an expired token. Such a program may read the file just before a renewal.
func OutlivesCaches(ttl time.Duration) bool { return ttl/2 >= CacheTime }
