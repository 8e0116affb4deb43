package lease

import (
	"time"

	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/tokens"
)

// Renewal is what is known of the token that a share holds, and of the attempts to renew
// it. The zero value means that nothing is known. It has no lock of its own: its owner's
// lock guards it.
type Renewal struct {
	Generation          uint64
	KeyID, TokenID      string
	FurtherKeyIDs       []string // of the tokens for others, also several times
	IssuedAt, ExpiresAt time.Time
	Revoked             bool      // verifiers refuse it: the key that signed it is retired
	RenewAt             time.Time // when the token is to be renewed
	Due                 time.Time // when the next delivery is due: at RenewAt, or before if another source is due
	Renewals            uint64    // successful ones
	Failures            int       // since the last success
	LastError           string    // one line
	LastErrorAt         time.Time
}

// Holds records which token the share holds.
func (r *Renewal) Holds(c tokens.Claims, ttl time.Duration) {
	r.Generation, r.KeyID, r.TokenID = c.Generation, c.KeyID, c.TokenID
	r.IssuedAt, r.ExpiresAt, r.Revoked = c.IssuedAt, c.ExpiresAt, false
	r.RenewAt = tokens.RenewAt(c.IssuedAt, ttl, c.SandboxID)
	r.Due = r.RenewAt
}

// DueBy records when another source is due; zero for never.
func (r *Renewal) DueBy(other time.Time) {
	if !other.IsZero() && other.Before(r.Due) {
		r.Due = other
	}
}

// Found records what was read in a share. For a token that verifies, Holds records more.
func (r *Renewal) Found(held Held) {
	r.Generation = max(r.Generation, held.Generation)
	if r.IssuedAt.IsZero() && held.Generation > 0 {
		r.IssuedAt, r.ExpiresAt, r.Revoked = held.Metadata.IssuedAt, held.Metadata.ExpiresAt, held.Revoked
	}
}

// Succeeded records a renewal, and which token the share holds now.
func (r *Renewal) Succeeded(c tokens.Claims, ttl time.Duration) {
	r.Renewals++
	r.Forgive()
	r.Holds(c, ttl)
}

// Failed records a failed attempt and returns when to try again. problem is one line. What
// is known of the token does not change.
func (r *Renewal) Failed(problem string, now time.Time, ttl time.Duration) (next time.Time) {
	r.Failures++
	r.LastError, r.LastErrorAt = problem, now
	return now.Add(schedule.RetryDelay(r.Failures, ttl))
}

// Forgive forgets the failures.
func (r *Renewal) Forgive() { r.Failures, r.LastError, r.LastErrorAt = 0, "", time.Time{} }

// Ended forgets the token, because its share is gone. It keeps the generation's number and
// the count of renewals.
func (r *Renewal) Ended() { *r = Renewal{Generation: r.Generation, Renewals: r.Renewals} }

// Urgency returns a time that orders the leases that are due: the token's expiry. Leases
// that failed come after all others, and those whose token is not known come last.
func (r *Renewal) Urgency() time.Time {
	const never, later = 1 << 40, 100 * 365 * 24 * time.Hour
	switch {
	case r.ExpiresAt.IsZero():
		return time.Unix(never, 0)
	case r.Failures > 0:
		return r.ExpiresAt.Add(later)
	}
	return r.ExpiresAt
}
