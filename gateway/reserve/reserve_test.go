package reserve

import (
	"testing"
	"time"
)

// TestPublishes: space is set aside for ten minutes of renewals, and for two at least.
func TestPublishes(t *testing.T) {
	for ttl, want := range map[time.Duration]int{time.Hour: 2, 24 * time.Hour: 2, 16 * time.Second: 84, 10 * time.Minute: 3} {
		if got := publishes(ttl); got != want {
			t.Errorf("%v: %d publishes, not %d", ttl, got, want)
		}
	}
}
