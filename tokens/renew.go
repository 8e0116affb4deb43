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

	// cacheTime is how long readers in the wild keep a token file's content.
	cacheTime = 10 * time.Minute
)

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

// CheckTTL refuses a lifetime below MinTTL or above MaxTTL with an *Error that
// wraps ErrTTL or ErrLongTTL and names the nearest that works. The warning is one
// line, or empty.
func CheckTTL(ttl, staleness time.Duration) (warning string, err error) {
	if ttl > MaxTTL {
		return "", &Error{
			Op:   fmt.Sprintf("token lifetime %v", ttl),
			Err:  fmt.Errorf("%w: at most %s, so that a copied token is soon worthless", ErrLongTTL, hours(MaxTTL)),
			Hint: fmt.Sprintf("use --ttl %s or shorter: a token is renewed at half of its lifetime, as long as a gateway runs", hours(MaxTTL)),
		}
	}
	least := MinTTL(staleness)
	if ttl < least {
		return "", &Error{
			Op:   fmt.Sprintf("token lifetime %v", ttl),
			Err:  fmt.Errorf("%w: the smallest that works here is %v", ErrTTL, least),
			Hint: fmt.Sprintf("use --ttl %v or longer", least),
		}
	}
	if ttl/2 < cacheTime {
		return fmt.Sprintf("half of the token lifetime %v is under %v: a program that caches the token file for that long may use an expired token", ttl, minutes(cacheTime)), nil
	}
	return "", nil
}

func hours(d time.Duration) string   { return fmt.Sprintf("%dh", int(d.Hours())) }
func minutes(d time.Duration) string { return fmt.Sprintf("%d minutes", int(d.Minutes())) }
