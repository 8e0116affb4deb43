package schedule

import (
	"context"
	"sync"
	"time"
)

// Each runs f for all of list, atOnce of them at a time, and returns when all have ended.
// If ctx ends before all have begun, it returns at once and starts no more. A call that
// hangs delays no other: after slowAfter it gives its place to the next, as in a Schedule.
func Each[T any](ctx context.Context, list []T, atOnce int, f func(T)) {
	places, slow := make(chan struct{}, atOnce), make(chan struct{}, maxSlow)
	var running sync.WaitGroup
	for _, s := range list {
		for _, place := range []chan struct{}{slow, places} {
			select {
			case place <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
		running.Go(func() {
			var once sync.Once
			leave := func() { once.Do(func() { <-places }) }
			timer := time.AfterFunc(slowAfter, leave)
			f(s)
			timer.Stop()
			leave()
			<-slow
		})
	}
	running.Wait()
}
