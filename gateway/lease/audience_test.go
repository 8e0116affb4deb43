package lease

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/internal/contract"
	"openshell-vm/internal/vocab"
	"openshell-vm/share"
	"openshell-vm/share/layout"
	"openshell-vm/tokens"
)

// three are tokens with lifetimes and algorithms of their own.
var three = vocab.Tokens{Identity: "ci", Claims: map[string]string{"team": "a"}, Files: []vocab.TokenFile{
	{Audience: "https://a", File: "a.jwt", Algorithm: "ES256", TTL: 10 * time.Minute},
	{Audience: "b", File: "b.jwt", Algorithm: "RS256", TTL: 6 * time.Hour, NoID: true},
	{Audience: "c", File: "c.jwt", Algorithm: "EdDSA"},
}}

// changed returns three with a change.
func changed(change func(*vocab.Tokens)) vocab.Tokens {
	t := three
	t.Files = slices.Clone(three.Files)
	change(&t)
	return t
}

// want makes a lease's holder want other tokens.
func want(l *Lease, t vocab.Tokens) { l.holder.(*holding).tokens.Store(&t) }

// judged verifies all that a share holds, as its readers would. It returns the claims by file,
// and fails unless all are of one generation and none is older than its renewal time.
func judged(t *testing.T, k *Keeper, l *Lease) map[string]tokens.Claims {
	t.Helper()
	content, err := share.Read(l.Share().AuthDir())
	if err != nil {
		t.Fatal(err)
	}
	all, ttl := map[string]tokens.Claims{}, l.holder.TTL()
	check := func(file, audience string, ttl time.Duration) {
		v := k.Verifier(0)
		if audience != "" {
			v.Audiences = []string{audience}
		}
		claims, err := v.Verify(string(content.Files[file]), time.Now())
		if err != nil {
			t.Fatalf("%s at %v: %v", file, time.Now(), err)
		}
		if age := time.Since(claims.IssuedAt); claims.Generation != content.Generation || age > ttl*55/100+2*time.Second {
			t.Errorf("%s of generation %d, age %v, in generation %d", file, claims.Generation, age, content.Generation)
		}
		all[file] = claims
	}
	check(contract.TokenName, "", ttl)
	for _, f := range l.holder.Tokens().Files {
		check(f.File, f.Audience, lifetime(f, ttl))
	}
	return all
}

// metadataOf reads what a share says of itself.
func metadataOf(t *testing.T, l *Lease) (m contract.Metadata) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(l.Share().AuthDir(), contract.MetadataName))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestAudiences: during half a day, all tokens are fresh and of one generation, which is due
// when the first of them is. What is known of them is what they say.
func TestAudiences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, time.Hour, 1, io.Discard)
		l := all[0]
		want(l, three)
		stop := serving(t, k)
		for range 12 * 12 {
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			judged(t, k, l)
		}
		r := renewal(l)
		if r.Renewals < 12*6*100/55-1 || r.Renewals > 12*6*100/45+2 {
			t.Errorf("%d renewals in half a day of tokens that live 10 minutes", r.Renewals)
		}
		claims, m := judged(t, k, l), metadataOf(t, l)
		if len(m.Tokens) != 3 || m.Tokens[0].File != "a.jwt" || m.Tokens[1].Algorithm != "RS256" ||
			!m.ExpiresAt.Equal(claims[contract.TokenName].ExpiresAt) {
			t.Fatalf("metadata: %+v", m)
		}
		for i, f := range r.Files {
			c := claims[f.File]
			if f.KeyID != c.KeyID || f.TokenID != c.TokenID || f.Subject != "spiffe://openshell/identity/ci" || f.Algorithm != string(c.Algorithm) ||
				!f.ExpiresAt.Equal(c.ExpiresAt) || !m.Tokens[i].ExpiresAt.Equal(c.ExpiresAt) || !m.Tokens[i].RenewAt.Equal(f.RenewAt) {
				t.Errorf("known is %+v, in the metadata %+v, and it says %+v", f, m.Tokens[i], c)
			}
			if c.Own["team"] != "a" || c.About.Name != "n" || c.About.ID != l.id {
				t.Errorf("%s says %+v", f.File, c)
			}
		}
		if claims["b.jwt"].TokenID != "" || claims["a.jwt"].TokenID == "" || claims["a.jwt"].TokenID == claims["c.jwt"].TokenID {
			t.Errorf("ids: %+v", claims)
		}
		if !r.Due.Equal(r.Files[0].RenewAt) {
			t.Errorf("due %v, not with the first at %v", r.Due, r.Files[0].RenewAt)
		}
		stop()
	})
}

// forget makes a lease as a new gateway finds it.
func forget(l *Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewal, l.at = Renewal{}, time.Time{}
}

// TestAudiencesAfterRestart: a new gateway goes on with the tokens that are there when the
// first of them is due, and at once if the share has not what the record wants: also if the
// share is of a gateway that knew no other tokens.
func TestAudiencesAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, time.Hour, 1, io.Discard)
		l := all[0]
		pickedUp := func() (due time.Time, fresh bool) {
			forget(l)
			k.pickUp(l)
			return k.Renewals().At(l.id), k.Fresh(l)
		}
		deliver := func() {
			t.Helper()
			if err := k.Deliver(t.Context(), l, nil); err != nil {
				t.Fatal(err)
			}
		}
		deliver()
		if due, fresh := pickedUp(); time.Until(due) < 20*time.Minute || !fresh {
			t.Errorf("without other tokens it is due at %v, fresh %v", due, fresh)
		}
		want(l, three)
		if due, fresh := pickedUp(); !due.IsZero() || fresh {
			t.Errorf("with tokens that are not there it is due at %v, fresh %v", due, fresh)
		}
		deliver()
		known := renewal(l).Files
		if due, fresh := pickedUp(); !due.Equal(known[0].RenewAt.Round(0)) || !fresh {
			t.Errorf("it is due at %v, not %v, fresh %v", due, known[0].RenewAt, fresh)
		}
		for i, f := range renewal(l).Files {
			if f != known[i] {
				t.Errorf("known was %+v, and after a restart is %+v", known[i], f)
			}
		}
		for name, change := range map[string]func(*vocab.Tokens){
			"one less":   func(t *vocab.Tokens) { t.Files = t.Files[:2] },
			"algorithm":  func(t *vocab.Tokens) { t.Files[2].Algorithm = "ES256" },
			"audience":   func(t *vocab.Tokens) { t.Files[0].Audience = "d" },
			"other name": func(t *vocab.Tokens) { t.Files[0].File = "d.jwt" },
			"with an id": func(t *vocab.Tokens) { t.Files[1].NoID = false },
			"none":       func(t *vocab.Tokens) { t.Files = nil },
		} {
			want(l, changed(change))
			if due, fresh := pickedUp(); !due.IsZero() || fresh {
				t.Errorf("%s: due at %v, fresh %v", name, due, fresh)
			}
		}
		want(l, three)
		time.Sleep(11 * time.Minute) // no gateway, and the first has expired
		if due, fresh := pickedUp(); !due.IsZero() || fresh {
			t.Errorf("with an expired token it is due at %v, fresh %v", due, fresh)
		}
		if files := renewal(l).Files; len(files) != 2 || files[0].File != "b.jwt" {
			t.Errorf("known is %+v", files)
		}
	})
}

// TestFailingSource: a token that can't be minted stays as it was, and the others are renewed
// beside it. The failure names the file, is retried within the shortest lifetime without a
// publish each time, and ends with its cause. A gateway that begins meanwhile keeps the token, too.
func TestFailingSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, time.Hour, 2, io.Discard)
		l, other := all[0], all[1]
		want(l, three)
		stop := serving(t, k)
		time.Sleep(time.Second)
		synctest.Wait()
		good := judged(t, k, l)[contract.TokenName].Generation
		first := contentOf(t, l)
		want(l, changed(func(t *vocab.Tokens) { t.Files[1].Algorithm = "none" }))
		time.Sleep(7 * time.Minute)
		held := contentOf(t, l)
		if held.Generation != good+1 { // when the first of them was due
			t.Errorf("generation %d after %d", held.Generation, good)
		}
		for name, stays := range map[string]bool{contract.TokenName: false, "a.jwt": false, "b.jwt": true, "c.jwt": false} {
			if same := string(held.Files[name]) == string(first.Files[name]); same != stays || len(held.Files[name]) == 0 {
				t.Errorf("%s: as before %v, %d bytes", name, same, len(held.Files[name]))
			}
		}
		if r := renewal(l); r.Failures < 5 || !strings.Contains(r.LastError, "b.jwt: ") || strings.Contains(r.LastError, "\n") || len(r.Files) != 3 ||
			l.Lacks(three.Files[1]) == nil || l.Lacks(three.Files[0], three.Files[2]) != nil || r.Files[1].TokenID != "" || r.Files[1].ExpiresAt.IsZero() {
			t.Errorf("it is shown as %+v", r)
		}
		if r := renewal(other); r.Failures != 0 {
			t.Errorf("another lease fails: %+v", r)
		}
		stop()

		l.renewal, l.at = Renewal{}, time.Time{} // a gateway that begins anew
		stop = serving(t, k)
		time.Sleep(40 * time.Minute)
		held = contentOf(t, l)
		if r := renewal(l); string(held.Files["b.jwt"]) != string(first.Files["b.jwt"]) || r.Failures == 0 || len(r.Files) != 3 || time.Since(r.IssuedAt) > time.Hour {
			t.Errorf("after a restart it is shown as %+v", r)
		}
		before := held.Generation
		want(l, three)
		time.Sleep(time.Minute)
		synctest.Wait()
		if now := judged(t, k, l)[contract.TokenName].Generation; now <= before || renewal(l).Failures != 0 || l.Lacks(three.Files...) != nil {
			t.Errorf("generation %d after %d, %+v", now, before, renewal(l))
		}
		stop()
	})
}

func contentOf(t *testing.T, l *Lease) share.Snapshot {
	t.Helper()
	held, err := share.Read(l.Share().AuthDir())
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// TestOldAudienceTokens: a superseded token stays readable for the overlap, as that for the
// gateway does. One that its holder does not want any more goes after the grace.
func TestOldAudienceTokens(t *testing.T) {
	k, all := kept(t, time.Hour, 1, io.Discard)
	l := all[0]
	want(l, three)
	deliver := func() {
		t.Helper()
		if err := k.Deliver(context.Background(), l, nil); err != nil {
			t.Fatal(err)
		}
	}
	deliver()
	content, err := share.Read(l.Share().AuthDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{"a.jwt": true, "b.jwt": true, contract.TokenName: true, contract.MetadataName: true, "d.jwt": false} {
		if got := k.Superseded(l.id, name, content.Files[name]); got != stays {
			t.Errorf("%s of the record stays: %v", name, got)
		}
	}
	if k.Superseded(l.id, "a.jwt", content.Files["b.jwt"]) {
		t.Error("a token for another audience stays under a name that is used again")
	}
	old := filepath.Join(l.Share().AuthDir(), layout.Generation(content.Generation), "a.jwt")
	if _, err := os.Stat(old); err != nil {
		t.Fatal(err)
	}
	want(l, vocab.Tokens{Files: three.Files[1:]})
	deliver()
	if _, err := os.Stat(filepath.Join(l.Share().AuthDir(), "a.jwt")); err == nil {
		t.Error("a dropped token is still there")
	}
	if _, err := l.Share().Prune(context.Background(), time.Now().Add(share.DefaultGrace+time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("a dropped token is readable after the grace")
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(old), "b.jwt")); err != nil {
		t.Errorf("a superseded token is gone before the overlap is over: %v", err)
	}
	key := renewal(l).Files[0].KeyID
	if _, err := k.opts.Keys.Rotate(time.Now(), 6*time.Hour, 0); err != nil {
		t.Fatal(err)
	}
	deliver()
	if !k.Superseded(l.id, "b.jwt", content.Files["b.jwt"]) {
		t.Error("a token does not stay while its key verifies")
	}
	if err := k.opts.Keys.Retire(key, time.Now()); err != nil {
		t.Fatal(err)
	}
	if k.Superseded(l.id, "b.jwt", content.Files["b.jwt"]) {
		t.Error("a token stays though its key is retired")
	}
}
