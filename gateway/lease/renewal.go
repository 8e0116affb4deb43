package lease

import (
	"time"

	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/tokens"
)

// Renewal is what is known of the token that a share holds, and of the tries to renew
// it. The zero value knows nothing. It has no lock: its owner's guards it.
type Renewal struct {
	Generation          uint64
	KeyID, TokenID      string
	IssuedAt, ExpiresAt time.Time
	Revoked             bool      // verifiers refuse it: the key that signed it is retired
	RenewAt             time.Time // when the token is to be renewed
	Due                 time.Time // when the first source is: the token then, or another before
	Renewals            uint64    // successful ones
	Failures            int       // failed tries since the last success
	LastError           string    // one line
	LastErrorAt         time.Time
}

// Holds notes which token the share holds.
func (r *Renewal) Holds(c tokens.Claims, ttl time.Duration) {
	r.Generation, r.KeyID, r.TokenID = c.Generation, c.KeyID, c.TokenID
	r.IssuedAt, r.ExpiresAt, r.Revoked = c.IssuedAt, c.ExpiresAt, false
	r.RenewAt = tokens.RenewAt(c.IssuedAt, ttl, c.SandboxID)
	r.Due = r.RenewAt
}

// DueBy notes that another source is due; zero is never.
func (r *Renewal) DueBy(other time.Time) {
	if !other.IsZero() && other.Before(r.Due) {
		r.Due = other
	}
}

// Found notes what a share was found to hold. Of a token that verifies, Holds says more.
func (r *Renewal) Found(held Held) {
	r.Generation = max(r.Generation, held.Generation)
	if r.IssuedAt.IsZero() && held.Generation > 0 {
		r.IssuedAt, r.ExpiresAt, r.Revoked = held.Metadata.IssuedAt, held.Metadata.ExpiresAt, held.Revoked
	}
}

// Succeeded notes a renewal.
func (r *Renewal) Succeeded(c tokens.Claims, ttl time.Duration) {
	r.Renewals++
	r.Forgive()
	r.Holds(c, ttl)
}

// Failed notes a try, of which problem is one line, and says when to try again. What the
// share holds is as it was.
func (r *Renewal) Failed(problem string, now time.Time, ttl time.Duration) (next time.Time) {
	r.Failures++
	r.LastError, r.LastErrorAt = problem, now
	return now.Add(schedule.RetryDelay(r.Failures, ttl))
}

// Forgive forgets what failed: it is not tried again.
func (r *Renewal) Forgive() { r.Failures, r.LastError, r.LastErrorAt = 0, "", time.Time{} }

// Ended forgets the token, whose share is gone, but not the numbers that were used.
func (r *Renewal) Ended() { *r = Renewal{Generation: r.Generation, Renewals: r.Renewals} }

// Urgency is when it is too late to renew, which orders what is due. What has not been
// read yet, or hangs or fails, comes behind what only waits for its turn.
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
