package container

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestPollEnds: a wait for an engine ends when it is told so, fails, or is not wanted
// any more.
func TestPollEnds(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		answers []error // of the calls that are not the last
		last    error
		within  time.Duration
		want    error
		calls   int
	}{
		"at once":      {within: time.Minute, calls: 1},
		"later":        {answers: []error{nil, nil}, within: time.Minute, calls: 3},
		"with a fault": {answers: []error{nil}, last: broken, within: time.Minute, want: broken, calls: 2},
		"by the context": {answers: make([]error, 100), within: 2500 * time.Millisecond,
			want: context.DeadlineExceeded, calls: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.within)
				defer cancel()
				calls := 0
				err := poll(ctx, time.Second, func() (bool, error) {
					calls++
					if calls <= len(c.answers) {
						return false, c.answers[calls-1]
					}
					return c.last == nil, c.last
				})
				if !errors.Is(err, c.want) || calls != c.calls {
					t.Errorf("%v after %d calls; %v after %d are wanted", err, calls, c.want, c.calls)
				}
			})
		})
	}
}
