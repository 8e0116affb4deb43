package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/state"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

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
		go g.schedule.Serve(ctx)
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
		go g.schedule.Serve(ctx)
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
		time.Sleep(schedule.LongestRetry + publishDeadline)
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
		go g.schedule.Serve(ctx)
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
			time.Sleep(schedule.FirstRetry)
			// What a sandbox may still see a second later must be valid then.
			if _, err := g.readToken(s, time.Now().Add(time.Second)); err != nil {
				t.Errorf("after one failure: %v", err)
			}
		}
		cancel()
		synctest.Wait()
	})
}

// TestClockWentBack: a token from the future is renewed at once.
func TestClockWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all := bubbleGateway(t, time.Hour, 2)
		ctx, cancel := context.WithCancel(t.Context())
		g.pickUpAll(ctx)
		go g.schedule.Serve(ctx)
		time.Sleep(time.Second)
		ahead := all[0]
		raw, claims, err := g.issuer.Mint(tokens.Request{SandboxID: ahead.id, Generation: 2, TTL: time.Hour, Now: time.Now().Add(24 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		publishRaw(t, ahead, []byte(raw), []byte("{}"))
		ahead.set(func() { ahead.token.Holds(claims, ahead.record.TTL()) })
		g.schedule.Set(ahead.id, ahead.token.RenewAt, ahead.token.ExpiresAt)
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
			if at := g.schedule.At(s.id); at.Before(time.Now()) != c.now {
				t.Errorf("it is renewed at %v", at)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		g, all := bubbleGateway(t, time.Hour, 1)
		g.pickUp(all[0])
		if _, err := share.Read(all[0].share.AuthDir()); err == nil || g.schedule.At(all[0].id).After(time.Now()) {
			t.Errorf("%v", err)
		}
	})
}
