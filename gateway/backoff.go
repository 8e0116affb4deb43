package gateway

import (
	"math/rand/v2"
	"time"
)

const (
	// firstRetry is what invariant 4 sets aside for one retry.
	firstRetry = 3 * time.Second
	// longestRetry bounds how long a cause that has gone stays without a try.
	longestRetry = 30 * time.Second
)

// retryDelay is how long to wait after the n-th failure in a row, n from 1: it
// doubles from firstRetry to longestRetry, but for short-lived tokens it stays
// at a tenth of their lifetime or firstRetry. The jitter only shortens it,
// by up to a fifth.
func retryDelay(n int, ttl time.Duration) time.Duration {
	longest := max(firstRetry, min(longestRetry, ttl/10))
	delay := longest
	if n < 10 {
		delay = min(longest, firstRetry<<(n-1))
	}
	return delay - rand.N(delay/5)
}

// backoff spaces out the tries of one piece of work. The zero value allows the
// first one at once.
type backoff struct {
	failures int
	next     time.Time
}

func (b *backoff) due(now time.Time) bool { return !now.Before(b.next) }

func (b *backoff) failed(now time.Time) {
	b.failures++
	b.next = now.Add(retryDelay(b.failures, time.Hour))
}
