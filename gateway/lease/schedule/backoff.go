package schedule

import (
	"math/rand/v2"
	"time"
)

const (
	// FirstRetry is the delay after the first failure. Invariant 4 leaves that much time for
	// one retry.
	FirstRetry = 3 * time.Second
	// LongestRetry is the longest delay, so that a failure does not last much longer than
	// its cause.
	LongestRetry = 30 * time.Second
)

// RetryDelay returns how long to wait after the n-th failure in a row, n from 1. It doubles
// from FirstRetry to LongestRetry. For short-lived tokens it grows only to a tenth of their
// lifetime, or to FirstRetry if that is longer. The jitter only shortens it, by up to a
// fifth.
func RetryDelay(n int, ttl time.Duration) time.Duration {
	longest := max(FirstRetry, min(LongestRetry, ttl/10))
	delay := longest
	if n < 10 {
		delay = min(longest, FirstRetry<<(n-1))
	}
	return delay - rand.N(delay/5)
}

// Backoff spaces out the tries of one task. The zero value allows the first try at once.
type Backoff struct {
	failures int
	next     time.Time
}

// Due reports whether it is time for the next try.
func (b *Backoff) Due(now time.Time) bool { return !now.Before(b.next) }

// Failed counts a failure and puts off the next try.
func (b *Backoff) Failed(now time.Time) {
	b.failures++
	b.next = now.Add(RetryDelay(b.failures, time.Hour))
}
