package hostclock

import (
	"context"
	"testing"
	"time"
)

// TestWatchEnds checks that Watch ends with its context and reports no step before. The
// steps are tested where the clock may be set (build tag e2e).
func TestWatchEnds(t *testing.T) {
	for name, wait := range map[string]time.Duration{"at once": 0, "later": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			if err := Watch(ctx, func() { t.Error("a step was told that was none") }); err != nil || ctx.Err() == nil {
				t.Errorf("%v; context: %v", err, ctx.Err())
			}
		})
	}
}
