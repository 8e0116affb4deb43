package schedule

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestRunsInOrder checks that each key runs at its time, and again if its run sets it.
func TestRunsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var ran []string
		var s *Schedule
		s = New(func(_ context.Context, key string) {
			mu.Lock()
			ran = append(ran, fmt.Sprint(key, "@", time.Since(began)))
			mu.Unlock()
			if key == "twice" && time.Since(began) < 5*time.Minute {
				s.Set(key, began.Add(5*time.Minute), time.Time{})
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		go s.Serve(ctx)
		s.Set("late", began.Add(time.Hour), time.Time{})
		s.Set("twice", began.Add(time.Second), time.Time{})
		s.Set("moved", began.Add(time.Hour), time.Time{})
		s.Set("moved", began.Add(2*time.Second), time.Time{})
		s.Set("removed", began.Add(3*time.Second), time.Time{})
		s.Remove("removed")
		s.Set("overdue", began.Add(-time.Hour), time.Time{})
		time.Sleep(2 * time.Hour)
		cancel()
		synctest.Wait()
		want := "overdue@0s twice@1s moved@2s twice@5m0s late@1h0m0s"
		if got := strings.Join(ran, " "); got != want {
			t.Errorf("ran  %s\nwant %s", got, want)
		}
	})
}

// TestMostUrgentFirst checks that overdue keys run in the order in which they expire, not
// in the order of their times.
func TestMostUrgentFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var ran []string
		s := New(func(_ context.Context, key string) {
			mu.Lock()
			ran = append(ran, key)
			mu.Unlock()
			time.Sleep(slowAfter / 2)
		})
		s.places = make(chan struct{}, 1)
		s.Set("long-lived", began.Add(-20*time.Minute), began.Add(10*time.Minute))
		s.Set("short-lived", began.Add(-time.Second), began.Add(7*time.Second))
		s.Set("not-due", began.Add(time.Hour), began)
		s.Set("expired", began.Add(-time.Minute), began.Add(-time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		go s.Serve(ctx)
		time.Sleep(time.Minute)
		cancel()
		synctest.Wait()
		if got, want := strings.Join(ran, " "), "expired short-lived long-lived"; got != want {
			t.Errorf("ran %s, wanted %s", got, want)
		}
	})
}

// TestIsNotDelayedByHanging has more hanging runs than workers.
func TestIsNotDelayedByHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ran := make(chan time.Duration, 1)
		s := New(func(ctx context.Context, key string) {
			if key == "quick" {
				ran <- time.Since(began)
				return
			}
			<-ctx.Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		go s.Serve(ctx)
		for i := range 5 * workers {
			s.Set(fmt.Sprint("hangs", i), began, began)
		}
		s.Set("quick", began.Add(time.Millisecond), began.Add(time.Hour))
		if late := <-ran; late > time.Second {
			t.Errorf("%v late behind %d that hang", late, 5*workers)
		}
		cancel()
		synctest.Wait()
	})
}

// TestSetWhileRunning checks that the time set last counts, and that a key never runs
// twice at once.
func TestSetWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs, inside atomic.Int32
		s := New(func(context.Context, string) {
			if inside.Add(1) > 1 {
				t.Error("runs twice at once")
			}
			runs.Add(1)
			time.Sleep(time.Second)
			inside.Add(-1)
		})
		ctx, cancel := context.WithCancel(t.Context())
		go s.Serve(ctx)
		s.Set("key", time.Now(), time.Time{})
		time.Sleep(500 * time.Millisecond)
		s.Set("key", time.Now(), time.Time{})
		s.Set("key", time.Now().Add(time.Minute), time.Time{})
		time.Sleep(30 * time.Second)
		if n := runs.Load(); n != 1 {
			t.Errorf("%d runs before the new time", n)
		}
		time.Sleep(time.Minute)
		if n := runs.Load(); n != 2 {
			t.Errorf("%d runs after it", n)
		}
		cancel()
		synctest.Wait()
	})
}

func TestRetryDelay(t *testing.T) {
	for _, c := range []struct {
		n         int
		ttl       time.Duration
		low, high time.Duration
	}{
		{1, time.Hour, 2400 * time.Millisecond, 3 * time.Second},
		{2, time.Hour, 4800 * time.Millisecond, 6 * time.Second},
		{20, time.Hour, 24 * time.Second, 30 * time.Second},
		{1 << 40, time.Hour, 24 * time.Second, 30 * time.Second},
		{1, 16 * time.Second, 2400 * time.Millisecond, 3 * time.Second},
		{9, 16 * time.Second, 2400 * time.Millisecond, 3 * time.Second},
		{9, 100 * time.Second, 8 * time.Second, 10 * time.Second},
	} {
		for range 100 {
			if d := RetryDelay(c.n, c.ttl); d < c.low || d > c.high {
				t.Errorf("failure %d, TTL %v: %v, wanted %v to %v", c.n, c.ttl, d, c.low, c.high)
			}
		}
	}
}
