package lease

import (
	"time"

	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/internal/contract"
	"openshell-vm/tokens"
)

// Renewal is what is known of the token that a share holds, and of the attempts to renew
// it. The zero value means that nothing is known. It has no lock of its own: its owner's
// lock guards it.
type Renewal struct {
	Generation          uint64
	KeyID, TokenID      string
	Issuer, Subject     string // "" if not known
	IssuedAt, ExpiresAt time.Time
	Static              bool      // the token is the user's own: it has no key of this gateway's
	Revoked             bool      // verifiers refuse it: the key that signed it is retired
	RenewAt             time.Time // when the token is to be renewed
	Due                 time.Time // when the next delivery is due: at RenewAt, or before if another source is due
	Files               []Issued  // the tokens for other audiences; replaced, never changed
	Renewals            uint64    // successful ones
	Failures            int       // since the last success
	LastError           string    // one line
	LastErrorAt         time.Time
	// Lacking are files whose tokens the last publish could not make. The share has those of
	// before, if there were any; Files has them, too. It counts as a failure.
	Lacking []string
	// Problem is one line about the user's own token, which the gateway does not renew: why the
	// content of its file is not published, or that it expires; "" for nothing.
	Problem string
}

// Issued is what is known of a token for another audience than the gateway.
type Issued struct {
	File, Audience, Algorithm    string
	Issuer, Subject              string // "" if not known
	KeyID, TokenID               string // "" if not known, TokenID also if the token has none
	IssuedAt, ExpiresAt, RenewAt time.Time
}

func issuedAs(file string, ttl time.Duration, c tokens.Claims) Issued {
	return Issued{File: file, Audience: c.Audience, Algorithm: string(c.Algorithm), Issuer: c.Issuer,
		Subject: c.Subject, KeyID: c.KeyID, TokenID: c.TokenID,
		IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt, RenewAt: tokens.RenewAt(c.IssuedAt, ttl, c.SandboxID)}
}

// described are the tokens that metadata names. Nothing of it is verified.
func described(m contract.Metadata) (files []Issued) {
	for _, t := range m.Tokens {
		files = append(files, Issued{File: t.File, Audience: t.Audience, Algorithm: t.Algorithm,
			IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt, RenewAt: t.RenewAt})
	}
	return files
}

// renewAt returns when a token of this lifetime is to be renewed: never if its user made it, and
// so ttl is 0.
func renewAt(c tokens.Claims, ttl time.Duration) time.Time {
	if ttl == 0 {
		return never
	}
	return tokens.RenewAt(c.IssuedAt, ttl, c.SandboxID)
}

// Holds records which tokens the share holds. They are due when the first of them is. ttl is 0
// for the user's own token.
func (r *Renewal) Holds(c tokens.Claims, ttl time.Duration, files []Issued) {
	r.Generation, r.KeyID, r.TokenID = c.Generation, c.KeyID, c.TokenID
	r.Issuer, r.Subject = c.Issuer, c.Subject
	r.IssuedAt, r.ExpiresAt, r.Revoked = c.IssuedAt, c.ExpiresAt, false
	r.RenewAt, r.Static = renewAt(c, ttl), ttl == 0
	r.Due, r.Files = r.RenewAt, files
	if r.Static {
		r.RenewAt = time.Time{}
	}
	for _, t := range files {
		r.DueBy(t.RenewAt)
	}
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
		r.Files = held.Files
		if len(held.Files) == 0 {
			r.Files = described(held.Metadata)
		}
	}
}

// Succeeded records a renewal, and which tokens the share holds now.
func (r *Renewal) Succeeded(c tokens.Claims, ttl time.Duration, files []Issued) {
	r.Renewals++
	r.Forgive()
	r.Holds(c, ttl, files)
}

// Failed records a failed attempt and returns when to try again. problem is one line. What
// is known of the token does not change.
func (r *Renewal) Failed(problem string, now time.Time, ttl time.Duration) (next time.Time) {
	r.Failures++
	r.LastError, r.LastErrorAt = problem, now
	return now.Add(schedule.RetryDelay(r.Failures, ttl))
}

// Forgive forgets the failures.
func (r *Renewal) Forgive() {
	r.Failures, r.LastError, r.LastErrorAt, r.Lacking = 0, "", time.Time{}, nil
}

// Ended forgets the token, because its share is gone. It keeps the generation's number and
// the count of renewals.
func (r *Renewal) Ended() {
	*r = Renewal{Generation: r.Generation, Renewals: r.Renewals, Problem: r.Problem}
}

// expires returns when the first of the tokens expires.
func (r *Renewal) expires() time.Time {
	first := r.ExpiresAt
	for _, t := range r.Files {
		if t.ExpiresAt.Before(first) {
			first = t.ExpiresAt
		}
	}
	return first
}

// Urgency returns a time that orders the leases that are due: the first expiry. Leases
// that failed come after all others, and those whose token is not known come last.
func (r *Renewal) Urgency() time.Time {
	const never, later = 1 << 40, 100 * 365 * 24 * time.Hour
	switch {
	case r.ExpiresAt.IsZero():
		return time.Unix(never, 0)
	case r.Failures > 0:
		return r.expires().Add(later)
	}
	return r.expires()
}
