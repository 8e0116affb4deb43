package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/gateway/state"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// TestScheduleRunsInOrder, each key at its time and again when it sets itself.
func TestScheduleRunsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var ran []string
		var s *schedule
		s = newSchedule(func(_ context.Context, key string) {
			mu.Lock()
			ran = append(ran, fmt.Sprint(key, "@", time.Since(began)))
			mu.Unlock()
			if key == "twice" && time.Since(began) < 5*time.Minute {
				s.set(key, began.Add(5*time.Minute), time.Time{})
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		go s.serve(ctx)
		s.set("late", began.Add(time.Hour), time.Time{})
		s.set("twice", began.Add(time.Second), time.Time{})
		s.set("moved", began.Add(time.Hour), time.Time{})
		s.set("moved", began.Add(2*time.Second), time.Time{})
		s.set("removed", began.Add(3*time.Second), time.Time{})
		s.remove("removed")
		s.set("overdue", began.Add(-time.Hour), time.Time{})
		time.Sleep(2 * time.Hour)
		cancel()
		synctest.Wait()
		want := "overdue@0s twice@1s moved@2s twice@5m0s late@1h0m0s"
		if got := strings.Join(ran, " "); got != want {
			t.Errorf("ran  %s\nwant %s", got, want)
		}
	})
}

// TestScheduleMostUrgentFirst: what is overdue runs in the order in which it
// expires, not in that of its times.
func TestScheduleMostUrgentFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var ran []string
		s := newSchedule(func(_ context.Context, key string) {
			mu.Lock()
			ran = append(ran, key)
			mu.Unlock()
			time.Sleep(slowAfter / 2)
		})
		s.places = make(chan struct{}, 1)
		s.set("long-lived", began.Add(-20*time.Minute), began.Add(10*time.Minute))
		s.set("short-lived", began.Add(-time.Second), began.Add(7*time.Second))
		s.set("not-due", began.Add(time.Hour), began)
		s.set("expired", began.Add(-time.Minute), began.Add(-time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		go s.serve(ctx)
		time.Sleep(time.Minute)
		cancel()
		synctest.Wait()
		if got, want := strings.Join(ran, " "), "expired short-lived long-lived"; got != want {
			t.Errorf("ran %s, wanted %s", got, want)
		}
	})
}

// TestScheduleIsNotDelayedByHanging runs: more of them than there are workers.
func TestScheduleIsNotDelayedByHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ran := make(chan time.Duration, 1)
		s := newSchedule(func(ctx context.Context, key string) {
			if key == "quick" {
				ran <- time.Since(began)
				return
			}
			<-ctx.Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		go s.serve(ctx)
		for i := range 5 * workers {
			s.set(fmt.Sprint("hangs", i), began, began)
		}
		s.set("quick", began.Add(time.Millisecond), began.Add(time.Hour))
		if late := <-ran; late > time.Second {
			t.Errorf("%v late behind %d that hang", late, 5*workers)
		}
		cancel()
		synctest.Wait()
	})
}

// TestScheduleSetWhileRunning: the time that is set last counts, and a key never
// runs twice at once.
func TestScheduleSetWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs, inside atomic.Int32
		s := newSchedule(func(context.Context, string) {
			if inside.Add(1) > 1 {
				t.Error("runs twice at once")
			}
			runs.Add(1)
			time.Sleep(time.Second)
			inside.Add(-1)
		})
		ctx, cancel := context.WithCancel(t.Context())
		go s.serve(ctx)
		s.set("key", time.Now(), time.Time{})
		time.Sleep(500 * time.Millisecond)
		s.set("key", time.Now(), time.Time{})
		s.set("key", time.Now().Add(time.Minute), time.Time{})
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

// bubbleGateway makes a gateway whose renewals run in the bubble's time. It has
// no API, and engines only to be counted running.
func bubbleGateway(t *testing.T, ttl time.Duration, n int) (*Gateway, []*sandbox) {
	dir := t.TempDir()
	home := &state.Home{State: dir, Shares: filepath.Join(dir, "shares"), ID: "abcdefghijkl"}
	for _, d := range []string{home.Shares, home.Sandboxes()} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	g, err := New(home, Options{Drivers: []drivers.Driver{newFake("fake")}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var all []*sandbox
	for i := range n {
		r := &state.Record{Version: state.Version, ID: fmt.Sprintf("sandbox%05d", i), Name: fmt.Sprint("n", i), Driver: "fake",
			Request: state.Request{TTL: ttl}, Share: filepath.Join(home.Shares, fmt.Sprintf("sandbox%05d", i)),
			Desired: state.WantRunning, Made: true, GenerationLimit: generationStep}
		if err := g.know(r); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(home.SandboxDir(r.ID), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := g.makeShare(r); err != nil {
			t.Fatal(err)
		}
		all = append(all, g.byID(r.ID))
	}
	return g, all
}

// TestDayOfRenewals: every five minutes of a day each of some sandboxes has a token
// that is valid and past no more than its renewal time.
func TestDayOfRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = time.Hour
		g, all := bubbleGateway(t, ttl, 3)
		ctx, cancel := context.WithCancel(t.Context())
		g.pickUpAll(ctx)
		go g.schedule.serve(ctx)
		for range 24 * 12 {
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			for _, s := range all {
				claims, err := g.readToken(s, time.Now())
				if err != nil {
					t.Fatalf("%s at %v: %v", s.id, time.Now(), err)
				}
				if age := time.Since(claims.IssuedAt); age > ttl*55/100+time.Second {
					t.Errorf("%s holds a token of age %v", s.id, age)
				}
			}
		}
		for _, s := range all {
			if n := s.token.Renewals; n < 24*100/55 || n > 24*100/45+1 {
				t.Errorf("%s was renewed %d times in a day", s.id, n)
			}
		}
		cancel()
		synctest.Wait()
	})
}

// TestFailingRenewalKeepsTokenAndOthers: a share whose lock is held fails
// visibly, again and again with backoff; the old token stays; others are renewed
// in time; it recovers when the lock is released.
func TestFailingRenewalKeepsTokenAndOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all := bubbleGateway(t, time.Hour, 2)
		ctx, cancel := context.WithCancel(t.Context())
		g.pickUpAll(ctx)
		go g.schedule.serve(ctx)
		time.Sleep(time.Second)
		locked, free := all[0], all[1]
		before := locked.view().Token.Generation
		lock, err := os.OpenFile(filepath.Join(locked.share.Dir(), "lock"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Minute)
		claims, err := g.readToken(locked, time.Now())
		if v := locked.view().Token; err != nil || v.Failures < 5 || v.LastError == "" || v.Renewals != 1 || claims.Generation != before {
			t.Errorf("with the lock held: %+v, generation %d, %v", v, claims.Generation, err)
		}
		if v := free.view().Token; v.Failures != 0 || v.Renewals != 2 {
			t.Errorf("the other one: %+v", v)
		}
		lock.Close()
		time.Sleep(longestRetry + publishDeadline)
		if v := locked.view().Token; v.Failures != 0 || v.Renewals != 2 || time.Since(v.IssuedAt) > time.Minute {
			t.Errorf("with the lock released: %+v", v)
		}
		cancel()
		synctest.Wait()
	})
}

// TestShortLivedTokenSurvivesOneFailure: the arithmetic of the smallest lifetime.
func TestShortLivedTokenSurvivesOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all := bubbleGateway(t, tokens.MinTTL(time.Second), 1)
		s := all[0]
		ctx, cancel := context.WithCancel(t.Context())
		g.pickUpAll(ctx)
		go g.schedule.serve(ctx)
		time.Sleep(time.Second)
		aside := s.share.AuthDir() + ".aside"
		for range 20 {
			time.Sleep(time.Until(s.view().Token.RenewAt) - time.Millisecond)
			if err := os.Rename(s.share.AuthDir(), aside); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if err := os.Rename(aside, s.share.AuthDir()); err != nil {
				t.Fatal(err)
			}
			if n := s.view().Token.Failures; n != 1 {
				t.Fatalf("%d failures, one is wanted", n)
			}
			time.Sleep(firstRetry)
			// What a sandbox may still see a second later must be valid then.
			if _, err := g.readToken(s, time.Now().Add(time.Second)); err != nil {
				t.Errorf("after one failure: %v", err)
			}
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
			if d := retryDelay(c.n, c.ttl); d < c.low || d > c.high {
				t.Errorf("failure %d, TTL %v: %v, wanted %v to %v", c.n, c.ttl, d, c.low, c.high)
			}
		}
	}
}

// TestClockWentBack: a token from the future is renewed at once.
func TestClockWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all := bubbleGateway(t, time.Hour, 2)
		ctx, cancel := context.WithCancel(t.Context())
		g.pickUpAll(ctx)
		go g.schedule.serve(ctx)
		time.Sleep(time.Second)
		ahead := all[0]
		raw, claims, err := g.issuer.Mint(tokens.Request{SandboxID: ahead.id, Generation: 2, TTL: time.Hour, Now: time.Now().Add(24 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		publishRaw(t, ahead, []byte(raw), []byte("{}"))
		ahead.set(func() { ahead.holds(claims) })
		g.schedule.set(ahead.id, ahead.token.RenewAt, ahead.token.ExpiresAt)
		g.clockStepped()
		time.Sleep(time.Second)
		if _, err := g.readToken(ahead, time.Now()); err != nil {
			t.Errorf("after the step: %v", err)
		}
		if n := all[1].view().Token.Renewals; n != 1 {
			t.Errorf("the other one was renewed %d times", n)
		}
		cancel()
		synctest.Wait()
	})
}

// TestPickUp: what a share holds decides when it is renewed after a restart.
func TestPickUp(t *testing.T) {
	mint := func(g *Gateway, s *sandbox, issued time.Time) []byte {
		raw, _, err := g.issuer.Mint(tokens.Request{SandboxID: s.id, Generation: 1, TTL: time.Hour, Now: issued})
		if err != nil {
			t.Fatal(err)
		}
		return []byte(raw)
	}
	for _, c := range []struct {
		what  string
		token func(g *Gateway, s *sandbox) []byte
		now   bool
	}{
		{"fresh", func(g *Gateway, s *sandbox) []byte { return mint(g, s, time.Now()) }, false},
		{"expired", func(g *Gateway, s *sandbox) []byte { return mint(g, s, time.Now().Add(-2*time.Hour)) }, true},
		{"past its renewal", func(g *Gateway, s *sandbox) []byte { return mint(g, s, time.Now().Add(-56*time.Minute)) }, true},
		{"from the future", func(g *Gateway, s *sandbox) []byte { return mint(g, s, time.Now().Add(time.Hour)) }, true},
		{"another sandbox's", func(g *Gateway, s *sandbox) []byte { return mint(g, &sandbox{id: "otherotherot"}, time.Now()) }, true},
		{"not a token", func(*Gateway, *sandbox) []byte { return []byte("x") }, true},
	} {
		t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
			g, all := bubbleGateway(t, time.Hour, 1)
			s := all[0]
			publishRaw(t, s, c.token(g, s), []byte("{}"))
			g.pickUp(s)
			if at := g.schedule.entries[s.id].at; at.Before(time.Now()) != c.now {
				t.Errorf("it is renewed at %v", at)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		g, all := bubbleGateway(t, time.Hour, 1)
		g.pickUp(all[0])
		if _, err := share.Read(all[0].share.AuthDir()); err == nil || g.schedule.entries[all[0].id].at.After(time.Now()) {
			t.Errorf("%v", err)
		}
	})
}
