package lease

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/vocab"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// holding is a holder that never changes.
type holding struct {
	ttl       time.Duration
	tokens    atomic.Pointer[vocab.Tokens]
	delivered func() // nil for nothing
}

func (h *holding) Name() string                { return "n" }
func (h *holding) TTL() time.Duration          { return h.ttl }
func (h *holding) About() tokens.About         { return tokens.About{Name: "n"} }
func (h *holding) Sources() []vocab.Source     { return nil }
func (h *holding) Reserve(uint64) error        { return nil }
func (h *holding) Floor() uint64               { return 1 }
func (h *holding) Mounted() error              { return nil }
func (h *holding) Restore() func()             { return nil }
func (h *holding) AfterRestart() time.Duration { return 0 }

func (h *holding) Tokens() vocab.Tokens {
	if t := h.tokens.Load(); t != nil {
		return *t
	}
	return vocab.Tokens{}
}

func (h *holding) Delivered() {
	if h.delivered != nil {
		h.delivered()
	}
}

// kept makes a keeper with some renewed leases. Serve is not called.
func kept(t *testing.T, ttl time.Duration, n int, log io.Writer) (*Keeper, []*Lease) {
	t.Helper()
	dir := t.TempDir()
	keys, err := tokens.OpenKeys(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	k := NewKeeper(Options{Keys: keys, GatewayID: "abcdefghijkl", Log: slog.New(slog.NewTextHandler(log, nil)),
		Exists: func(string) bool { return true }, Further: func(*Lease) []Source { return nil }, Pruned: func(string) {},
		Published: func(*Lease, uint64, time.Duration) {}, Failed: func(*Lease, string) {}})
	var all []*Lease
	for i := range n {
		id := fmt.Sprintf("sandbox%05d", i)
		s, err := share.Create(filepath.Join(dir, fmt.Sprint(i)), share.Options{Overlap: Overlap,
			Renewed: func(name string, data []byte) bool { return k.Superseded(id, name, data) }})
		if err != nil {
			t.Fatal(err)
		}
		l := New(id, s, &holding{ttl: ttl})
		k.Add(l)
		l.Follow(Renewed)
		all = append(all, l)
	}
	return k, all
}

// serving has the keeper pick up its leases and renew them, until stop is called. It is for
// a bubble.
func serving(t *testing.T, k *Keeper) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	k.PickUp(ctx)
	go k.Serve(ctx)
	return func() {
		cancel()
		synctest.Wait()
	}
}

// renewal returns what is known of a lease's token.
func renewal(l *Lease) Renewal {
	r, _ := l.Renewal()
	return r
}

// publishRaw publishes a token file and its metadata as they are given.
func publishRaw(t *testing.T, l *Lease, raw []byte) {
	t.Helper()
	_, err := l.Share().Publish(t.Context(), 0, func(uint64) ([]share.File, error) {
		return []share.File{{Name: contract.TokenName, Data: raw}, {Name: contract.MetadataName, Data: []byte("{}")}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDayOfRenewals: every five minutes during a day, each sandbox has a valid token that is
// not older than its renewal time.
func TestDayOfRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = time.Hour
		k, all := kept(t, ttl, 3, io.Discard)
		stop := serving(t, k)
		for range 24 * 12 {
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			for _, s := range all {
				held, err := k.read(s, time.Now())
				if err != nil {
					t.Fatalf("%s at %v: %v", s.id, time.Now(), err)
				}
				if age := time.Since(held.Claims.IssuedAt); age > ttl*55/100+time.Second {
					t.Errorf("%s holds a token of age %v", s.id, age)
				}
			}
		}
		for _, s := range all {
			if n := renewal(s).Renewals; n < 24*100/55 || n > 24*100/45+1 {
				t.Errorf("%s was renewed %d times in a day", s.id, n)
			}
		}
		stop()
	})
}

// TestFailingRenewalKeepsTokenAndOthers: the lock of a share is held. Its renewals fail
// visibly and are retried with backoff, and its old token stays. The other shares are renewed
// in time. When the lock is released, the share recovers.
func TestFailingRenewalKeepsTokenAndOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, time.Hour, 2, io.Discard)
		stop := serving(t, k)
		time.Sleep(time.Second)
		locked, free := all[0], all[1]
		before := renewal(locked).Generation
		lock, err := os.OpenFile(filepath.Join(locked.Share().Dir(), "lock"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Minute)
		held, err := k.read(locked, time.Now())
		if v := renewal(locked); err != nil || v.Failures < 5 || v.LastError == "" || v.Renewals != 1 || held.Claims.Generation != before {
			t.Errorf("with the lock held: %+v, generation %d, %v", v, held.Claims.Generation, err)
		}
		if v := renewal(free); v.Failures != 0 || v.Renewals != 2 {
			t.Errorf("the other one: %+v", v)
		}
		lock.Close()
		time.Sleep(schedule.LongestRetry + publishDeadline)
		if v := renewal(locked); v.Failures != 0 || v.Renewals != 2 || time.Since(v.IssuedAt) > time.Minute {
			t.Errorf("with the lock released: %+v", v)
		}
		stop()
	})
}

// TestShortLivedTokenSurvivesOneFailure: the arithmetic of the smallest lifetime.
func TestShortLivedTokenSurvivesOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, tokens.MinTTL(time.Second), 1, io.Discard)
		s := all[0]
		stop := serving(t, k)
		time.Sleep(time.Second)
		aside := s.Share().AuthDir() + ".aside"
		for range 20 {
			time.Sleep(time.Until(renewal(s).RenewAt) - time.Millisecond)
			if err := os.Rename(s.Share().AuthDir(), aside); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if err := os.Rename(aside, s.Share().AuthDir()); err != nil {
				t.Fatal(err)
			}
			if n := renewal(s).Failures; n != 1 {
				t.Fatalf("%d failures, one is wanted", n)
			}
			time.Sleep(schedule.FirstRetry)
			// What a sandbox may still see a second later must be valid then.
			if _, err := k.read(s, time.Now().Add(time.Second)); err != nil {
				t.Errorf("after one failure: %v", err)
			}
		}
		stop()
	})
}

// TestClockWentBack: a token from the future is renewed at once.
func TestClockWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, time.Hour, 2, io.Discard)
		stop := serving(t, k)
		time.Sleep(time.Second)
		ahead := all[0]
		raw, claims, err := k.Issuer().Mint(tokens.Request{SandboxID: ahead.id, Generation: 2, TTL: time.Hour, Now: time.Now().Add(24 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		publishRaw(t, ahead, []byte(raw))
		ahead.mu.Lock()
		ahead.renewal.Holds(claims, time.Hour, nil)
		ahead.schedule(ahead.renewal.RenewAt)
		ahead.mu.Unlock()
		k.ClockStepped()
		time.Sleep(time.Second)
		if _, err := k.read(ahead, time.Now()); err != nil {
			t.Errorf("after the step: %v", err)
		}
		if n := renewal(all[1]).Renewals; n != 1 {
			t.Errorf("the other one was renewed %d times", n)
		}
		stop()
	})
}

// TestPickUp: what a share holds decides when it is renewed after a restart.
func TestPickUp(t *testing.T) {
	mint := func(k *Keeper, s *Lease, issued time.Time) []byte {
		raw, _, err := k.Issuer().Mint(tokens.Request{SandboxID: s.id, Generation: 1, TTL: time.Hour, Now: issued})
		if err != nil {
			t.Fatal(err)
		}
		return []byte(raw)
	}
	for _, c := range []struct {
		what  string
		token func(k *Keeper, s *Lease) []byte
		now   bool
	}{
		{"fresh", func(k *Keeper, s *Lease) []byte { return mint(k, s, time.Now()) }, false},
		{"expired", func(k *Keeper, s *Lease) []byte { return mint(k, s, time.Now().Add(-2*time.Hour)) }, true},
		{"past its renewal", func(k *Keeper, s *Lease) []byte { return mint(k, s, time.Now().Add(-56*time.Minute)) }, true},
		{"from the future", func(k *Keeper, s *Lease) []byte { return mint(k, s, time.Now().Add(time.Hour)) }, true},
		{"another sandbox's", func(k *Keeper, s *Lease) []byte { return mint(k, &Lease{id: "otherotherot"}, time.Now()) }, true},
		{"not a token", func(*Keeper, *Lease) []byte { return []byte("x") }, true},
	} {
		t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
			k, all := kept(t, time.Hour, 1, io.Discard)
			s := all[0]
			publishRaw(t, s, c.token(k, s))
			k.pickUp(s)
			if at := k.Renewals().At(s.id); at.Before(time.Now()) != c.now {
				t.Errorf("it is renewed at %v", at)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		k, all := kept(t, time.Hour, 1, io.Discard)
		k.pickUp(all[0])
		if _, err := share.Read(all[0].Share().AuthDir()); err == nil || k.Renewals().At(all[0].id).After(time.Now()) {
			t.Errorf("%v", err)
		}
	})
}

// deny makes a directory unwritable until allow is called: immutable for root, 0555 for
// others.
func deny(t testing.TB, dir string) (allow func()) {
	t.Helper()
	set := func(flags int) error {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	if os.Getuid() != 0 {
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		return func() { _ = os.Chmod(dir, 0o755) }
	}
	const immutable = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
	if err := set(immutable); err != nil {
		t.Skipf("needs a file system with the attribute immutable: %v", err)
	}
	return func() { _ = set(0) }
}

// TestUntidyPublishIsNoFailure: the sandbox reads the new token, but a step after the commit
// fails: the announcement, or the removal of an old generation. That counts as a success,
// the next renewal is at its usual time, and a warning tells of it.
func TestUntidyPublishIsNoFailure(t *testing.T) {
	const announce, prune = 13, 14 // steps of share.Publish
	for name, step := range map[string]int{"announcement": announce, "old-generation": prune} {
		t.Run(name, func(t *testing.T) {
			log := &capture.Buffer{}
			k, all := kept(t, time.Hour, 1, log)
			published, failed := 0, 0
			k.opts.Published, k.opts.Failed = func(*Lease, uint64, time.Duration) { published++ }, func(*Lease, string) { failed++ }
			l := all[0]
			deliver := func() {
				t.Helper()
				if err := k.Deliver(t.Context(), l, nil); err != nil {
					t.Fatal(err)
				}
			}
			deliver()
			deliver()
			allow := func() {}
			marks, err := filepath.Glob(filepath.Join(l.Share().AuthDir(), "..is-*"))
			if err != nil || len(marks) == 0 {
				t.Fatalf("announcements: %v, %v", marks, err)
			}
			for _, mark := range marks { // all old generations are due
				if err := os.Chtimes(mark, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			opts := share.Options{Step: func(n int) {
				switch n {
				case step:
					allow = deny(t, l.Share().AuthDir())
				case 15:
					allow()
				}
			}}
			healthy := l.Share()
			stuck, err := share.At(healthy.Dir(), opts)
			if err != nil {
				t.Fatal(err)
			}
			l.Reshare(stuck)
			before := renewal(l)
			for range 3 {
				deliver()
			}
			now := renewal(l)
			held, err := k.read(l, time.Now())
			if err != nil || now.Generation != held.Claims.Generation || held.Claims.Generation < before.Generation+3 || !now.ExpiresAt.Equal(held.Claims.ExpiresAt) {
				t.Errorf("generation %d before, %d in the share, %v; it says %+v", before.Generation, held.Claims.Generation, err, now)
			}
			if now.Failures != 0 || now.LastError != "" || failed != 0 || published != 5 {
				t.Errorf("it counts as failed: %+v, %d, published %d times", now, failed, published)
			}
			if at := k.renewals.At(l.id); !at.Equal(now.RenewAt.Round(0)) {
				t.Errorf("it is renewed at %v, not at %v", at, now.RenewAt)
			}
			if told := l.Warnings(); len(told) != 1 || !strings.Contains(told[0], "can't be tidied up") {
				t.Errorf("it is told as %q", told)
			}
			if n := strings.Count(log.String(), "not tidied up"); n == 0 || step == prune && n > 1 {
				t.Errorf("the log has it %d times", n)
			}
			l.Reshare(healthy)
			deliver()
			if told := l.Warnings(); len(told) > 0 {
				t.Errorf("it is told for ever: %q", told)
			}
		})
	}
}

// TestRotationMeetsAStart: the key is rotated after a start has published and before its
// lease is Renewed. The lease still gets a token of the new key.
func TestRotationMeetsAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, time.Hour, 1, io.Discard)
		l := all[0]
		l.Follow(Pending)
		l.holder.(*holding).delivered = func() {
			if _, kept := l.Renewal(); kept {
				return
			}
			if _, err := k.RotateKeys(t.Context(), 0); err != nil {
				t.Error(err)
			}
			l.Follow(Renewed)
		}
		if err := k.Deliver(t.Context(), l, func(context.Context) error { return nil }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go k.Serve(ctx)
		time.Sleep(time.Second)
		synctest.Wait()
		if r := renewal(l); r.KeyID != k.opts.Keys.SigningKeyID() {
			t.Errorf("it holds a token of the old key, and is renewed in %v", time.Until(k.renewals.At(l.id)))
		}
		cancel()
		synctest.Wait()
	})
}
