package issuer

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/internal/discovery"

	"openshell-vm/tokens"
)

// TestKeysFromTheBeginning: an issuer with a URL shows keys of all kinds before a token is
// signed with them, and a gateway without one makes only the key that it needs itself.
func TestKeysFromTheBeginning(t *testing.T) {
	dir := t.TempDir()
	keys, err := tokens.OpenKeys(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	i := Open(filepath.Join(dir, "issuer.json"), keys, quiet)
	for _, url := range []string{"", "https://a.example"} {
		if _, err := i.Configure(name(url), time.Minute, time.Now()); err != nil {
			t.Fatal(err)
		}
		want := 1
		if url != "" {
			want = 3
		}
		d, err := i.Documents(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(d.Keys), `"kid"`); n != want {
			t.Errorf("%d keys for the issuer %q", n, url)
		}
	}
}

// TestKeysWaitForTheHook: a key that was published ahead does not sign while the hook fails,
// for however long and over a restart; it signs its publish-for after the hook's success. A
// failure afterwards does not delay it, and without a hook it signs when it was to.
func TestKeysWaitForTheHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		keys, err := tokens.OpenKeys(filepath.Join(dir, "keys"))
		if err != nil {
			t.Fatal(err)
		}
		failing, runs := true, 0
		begin := func() *Hook { // as a gateway does
			h := NewHook(Open(filepath.Join(dir, "issuer.json"), keys, quiet), "", quiet)
			h.run = func(context.Context, []string, discovery.Documents) error {
				runs++
				if failing {
					return errors.New("no bucket")
				}
				return nil
			}
			return h
		}
		h := begin()
		hold := func() {
			if _, err := keys.Hold(time.Now(), func(k tokens.KeyInfo) time.Time { return h.MaySign(k, time.Now()) }); err != nil {
				t.Error(err)
			}
		}
		pass := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Second) {
				h.look(t.Context())
				hold()
			}
		}
		rotate := func() string {
			made, err := keys.Rotate(time.Now(), time.Hour, 15*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return made[0].ID
		}
		expect := func(when, kid string, signs bool) {
			t.Helper()
			if keys.Signs(kid, time.Now()) != signs {
				t.Errorf("%s: it signs: %v", when, !signs)
			}
		}

		h.Configure([]string{"/bin/hook"})
		kid := rotate()
		pass(26 * time.Hour)
		expect("the hook fails", kid, false)
		if keys.List(time.Now())[0].RetireAt.Before(time.Now().Add(tokens.MaxTTL)) {
			t.Error("the key that signs retires meanwhile")
		}
		if keys, err = tokens.OpenKeys(filepath.Join(dir, "keys")); err != nil { // killed; nothing runs for a day
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		h = begin()
		h.Configure([]string{"/bin/hook"})
		hold()
		expect("the next gateway begins", kid, false)
		pass(time.Hour)
		failing = false
		pass(11 * time.Minute) // it is tried again
		if since, is := h.Published(kid); !is || time.Since(since) > 11*time.Minute {
			t.Fatal("it is not published: ", since, is)
		}
		since, _ := h.Published(kid)
		pass(time.Until(since.Add(14 * time.Minute)))
		expect("14 min after the success", kid, false)
		failing = true
		pass(2 * time.Minute)
		expect("16 min after the success", kid, true)
		if _, err := keys.Begin(time.Now(), time.Hour); err != nil {
			t.Fatal(err)
		}

		failing, kid = false, rotate()
		pass(11 * time.Minute)
		h.Configure([]string{"/bin/other"}) // to another place, which fails
		failing = true
		pass(time.Hour)
		expect("another hook fails", kid, false)
		h.Configure(nil)
		hold()
		pass(time.Minute)
		expect("without a hook", kid, true)
		if runs == 0 {
			t.Error("no hook has run")
		}
	})
}

// TestPublishForIsLowered: a verifier that fetched the keys before publish-for was lowered, and
// keeps them for as long as it was told, refuses no token after a rotation. A key that waits
// keeps its time.
func TestPublishForIsLowered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		keys, err := tokens.OpenKeys(filepath.Join(dir, "keys"))
		if err != nil {
			t.Fatal(err)
		}
		i := Open(filepath.Join(dir, "issuer.json"), keys, quiet)
		set := func(publishFor time.Duration) {
			if _, err := i.Configure(name("https://a.example"), publishFor, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		rotate := func() tokens.KeyInfo {
			made, err := keys.Rotate(time.Now(), time.Hour, i.Ahead(time.Now()))
			if err != nil {
				t.Fatal(err)
			}
			return made[0]
		}
		set(15 * time.Minute)
		waiting := rotate()
		time.Sleep(time.Minute)
		kept, err := i.Documents(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		until := time.Now().Add(kept.MaxAge)
		set(time.Minute)
		set(time.Minute) // upkeep does it again and again
		if d, err := i.Documents(time.Now()); err != nil || d.MaxAge != 40*time.Second {
			t.Errorf("they may be kept for %v, %v", d.MaxAge, err)
		}
		if now := keys.List(time.Now()); now[3].ID != waiting.ID || !now[3].SignsFrom.Equal(waiting.SignsFrom) {
			t.Errorf("the key that waits: %+v, before %+v", now[3], waiting)
		}
		if key := rotate(); key.SignsFrom.Before(until) {
			t.Errorf("it signs %v before verifiers ask again", until.Sub(key.SignsFrom))
		}
		time.Sleep(15 * time.Minute)
		if ahead := i.Ahead(time.Now()); ahead != time.Minute {
			t.Errorf("later it is %v ahead", ahead)
		}
	})
}
