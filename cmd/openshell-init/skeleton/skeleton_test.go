package skeleton

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/drivers/vm/guest"
)

// TestTell checks that a short boot reports no progress, and that a boot which hangs
// reports none after that.
func TestTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSkeleton("/nowhere")
		var (
			mu   sync.Mutex
			told []guest.Progress
		)
		so := func() []guest.Progress {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(told)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go s.tell(ctx, func(p guest.Progress) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, p)
		})
		s.made.Store(10)
		time.Sleep(tellEvery - 1)
		synctest.Wait()
		if told := so(); len(told) > 0 {
			t.Errorf("before %v: %v", tellEvery, told)
		}
		time.Sleep(time.Minute)
		s.of.Store(50)
		s.made.Store(40)
		time.Sleep(tellEvery)
		synctest.Wait()
		cancel()
		synctest.Wait()
		if want := []guest.Progress{{Files: 10}, {Files: 40, Of: 50}}; !slices.Equal(so(), want) {
			t.Errorf("%v, not %v", so(), want)
		}
	})
}
