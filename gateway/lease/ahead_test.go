package lease

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/internal/vocab"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// servingKeys is serving with ServeKeys.
func servingKeys(t *testing.T, k *Keeper) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	k.PickUp(ctx)
	go k.Serve(ctx)
	go k.ServeKeys(ctx)
	synctest.Wait()
	return func() {
		cancel()
		synctest.Wait()
	}
}

// again makes the keeper of the next gateway, with the same keys and shares.
func again(t *testing.T, old *Keeper, leases []*Lease) (*Keeper, []*Lease) {
	t.Helper()
	opts := old.opts
	var err error
	if opts.Keys, err = tokens.OpenKeys(filepath.Join(filepath.Dir(leases[0].Share().Dir()), "keys")); err != nil {
		t.Fatal(err)
	}
	k := NewKeeper(opts)
	var all []*Lease
	for _, before := range leases {
		s, err := share.At(before.Share().Dir(), share.Options{Overlap: Overlap})
		if err != nil {
			t.Fatal(err)
		}
		l := New(before.id, s, before.holder)
		k.Add(l)
		l.Follow(Renewed)
		all = append(all, l)
	}
	return k, all
}

// holdKey fails unless every share holds a token of the key.
func holdKey(t *testing.T, when, kid string, all []*Lease) {
	t.Helper()
	for _, l := range all {
		if got := renewal(l).KeyID; got != kid {
			t.Errorf("%s: %s holds a token of %s, not of %s", when, l.id, got, kid)
		}
	}
}

// TestPublishAhead: keys that are published ahead sign at their time, and then every share
// is published anew: by the gateway that made them, by one that began in between, and by
// one that began after that time.
func TestPublishAhead(t *testing.T) {
	const ahead = 15 * time.Minute
	for what, restart := range map[string]time.Duration{"no restart": 0, "a restart before": 5 * time.Minute, "a restart after": 20 * time.Minute} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, all := kept(t, 24*time.Hour, 3, io.Discard)
				stop := servingKeys(t, k)
				time.Sleep(time.Minute)
				began := time.Now()
				old := k.opts.Keys.SigningKeyID()
				r, err := k.RotateKeys(t.Context(), ahead)
				if err != nil || r.Shares.Done != 0 || !r.Made[0].SignsFrom.Equal(began.Add(ahead)) {
					t.Fatalf("rotated: %+v, %v", r, err)
				}
				next := r.Made[0].ID
				if restart > 0 {
					stop()
					time.Sleep(restart)
					k, all = again(t, k, all)
					stop = servingKeys(t, k)
				}
				if restart < ahead {
					time.Sleep(time.Until(began.Add(ahead - time.Second)))
					synctest.Wait()
					holdKey(t, "a second before", old, all)
					time.Sleep(time.Second)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				holdKey(t, "afterwards", next, all)
				for _, l := range all {
					if g := renewal(l).Generation; g != 2 {
						t.Errorf("%s has generation %d", l.id, g)
					}
				}
				keys := k.Keys()
				if len(keys) != 2 || keys[0].ID != next || keys[0].State != tokens.Signing || keys[1].ID != old ||
					!keys[1].RetireAt.Equal(began.Add(ahead+24*time.Hour)) {
					t.Errorf("the keys: %+v", keys)
				}
				stop()
			})
		})
	}
}

// TestPendingKeyIsGivenUp: a pending key can be retired, and nothing happens at its time.
func TestPendingKeyIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, 24*time.Hour, 1, io.Discard)
		stop := servingKeys(t, k)
		time.Sleep(time.Minute)
		old := k.opts.Keys.SigningKeyID()
		r, err := k.RotateKeys(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.RetireKey(t.Context(), r.Made[0].ID, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		holdKey(t, "an hour later", old, all)
		if keys := k.Keys(); len(keys) != 1 || !keys[0].RetireAt.IsZero() {
			t.Errorf("the keys: %+v", keys)
		}
		stop()
	})
}

// TestKeysOfFurtherTokens: a share holds the keys of all its tokens, and their lifetimes
// count.
func TestKeysOfFurtherTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, time.Hour, 2, io.Discard)
		const ttl = 6 * time.Hour
		want(all[0], vocab.Tokens{Files: []vocab.TokenFile{{Audience: "a", File: "a.jwt", Algorithm: "ES256", TTL: ttl}}})
		stop := servingKeys(t, k)
		time.Sleep(time.Minute)
		old := renewal(all[0]).Files[0].KeyID
		if n := k.Holding(old); n != 1 || old == "" {
			t.Fatalf("%d shares hold a token of the key %q", n, old)
		}
		began := time.Now()
		r, err := k.RotateKeys(t.Context(), 0)
		if err != nil || len(r.Made) != 2 || r.Shares.Done != 2 || renewal(all[0]).Files[0].KeyID != r.Made[1].ID || k.Holding(old) != 0 {
			t.Fatalf("rotated: %+v, %v; it holds %+v", r, err, renewal(all[0]))
		}
		for _, key := range k.Keys() {
			if key.State == tokens.Verifying && !key.RetireAt.Equal(began.Add(ttl)) {
				t.Errorf("the old key retires %v after the rotation", key.RetireAt.Sub(began))
			}
		}
		// The share's token for the gateway is of the new key, but the further one is not.
		all[0].mu.Lock()
		all[0].renewal.Files[0].KeyID = old
		all[0].mu.Unlock()
		var held *HeldError
		if _, err := k.RetireKey(t.Context(), old, false); !errors.As(err, &held) || held.Shares != 1 {
			t.Errorf("retired a key that is held: %v", err)
		}
		forced, err := k.RetireKey(t.Context(), old, true)
		if err != nil || forced.Done != 1 || k.Holding(old) != 0 {
			t.Errorf("retired by force: %+v, %v", forced, err)
		}
		stop()
	})
}

// TestFirstKeyOfAKind: a share wants an algorithm that has no key yet, while many others do.
// One key is made, and a rotation at that moment leaves no share behind.
func TestFirstKeyOfAKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, time.Hour, 20, io.Discard)
		for _, l := range all {
			want(l, vocab.Tokens{Files: []vocab.TokenFile{{Audience: "a", File: "a.jwt", Algorithm: "ES256"}}})
		}
		stop := servingKeys(t, k)
		time.Sleep(time.Minute)
		synctest.Wait()
		if keys := k.Keys(); len(keys) != 2 || k.Holding(keys[1].ID) != len(all) {
			t.Errorf("the keys: %+v", keys)
		}
		stop()
	})
}
