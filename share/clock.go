package share

import (
	"sync"
	"time"
)

// steps watches for all shares of this process whether the wall clock was set. A file's
// time from before that, or from before the host slept, says nothing about its age.
// steps compares the wall clock with the monotonic clock: a time.Time from time.Now has
// both.
var steps = clockSteps{origin: time.Now()}

// smallestStep is the smallest step that is noticed. A smaller one may only be the time
// between the two readings, and is small against any grace.
const smallestStep = time.Second

type clockSteps struct {
	origin time.Time

	mu     sync.Mutex
	offset time.Duration // wall clock minus monotonic clock since origin
	set    time.Time     // when a step was last noticed, by the new clock
}

// observe returns when a step was last noticed; zero if never.
func (c *clockSteps) observe() time.Time {
	now := time.Now()
	wall := now.Round(0).Sub(c.origin.Round(0)) // Round strips the monotonic reading
	return c.compare(now.Round(0), wall-now.Sub(c.origin))
}

func (c *clockSteps) compare(now time.Time, offset time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if (offset - c.offset).Abs() >= smallestStep {
		c.offset, c.set = offset, now
	}
	return c.set
}
