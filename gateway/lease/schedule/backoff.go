package schedule

import (
	"math/rand/v2"
	"time"
)

const (
	// FirstRetry is what invariant 4 sets aside for one retry.
	FirstRetry = 3 * time.Second
	// LongestRetry bounds how long a cause that has gone stays without a try.
	LongestRetry = 30 * time.Second
)

// RetryDelay is how long to wait after the n-th failure in a row, n from 1: it
// doubles from FirstRetry to LongestRetry, but for short-lived tokens it stays
// at a tenth of their lifetime or FirstRetry. The jitter only shortens it,
// by up to a fifth.
func RetryDelay(n int, ttl time.Duration) time.Duration {
	longest := max(FirstRetry, min(LongestRetry, ttl/10))
	delay := longest
	if n < 10 {
		delay = min(longest, FirstRetry<<(n-1))
	}
	return delay - rand.N(delay/5)
}

// Backoff spaces out the tries of one piece of work. The zero value allows the
// first one at once.
type Backoff struct {
	failures int
	next     time.Time
}

// Due says whether it is time for the next try.
func (b *Backoff) Due(now time.Time) bool { return !now.Before(b.next) }

// Failed puts off the next try, by what many failures in a row say.
func (b *Backoff) Failed(now time.Time) {
	b.failures++
	b.next = now.Add(RetryDelay(b.failures, time.Hour))
}
