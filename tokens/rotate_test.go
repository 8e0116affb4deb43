package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOldKeyDirectory: keys.json of format 1, as the version before wrote it, is read. The
// same key signs, though the other one was made later by its record, and both verify.
func TestOldKeyDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.CopyFS(dir, os.DirFS("testdata/format1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	chmodFiles(t, dir)
	const signs, verifies = "6f35a32a75a445280a86fecf8a1ba2f4", "258b62332945bd9dec3420237514fa70"
	k, err := OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	check := func(k *Keys) {
		t.Helper()
		list := k.List(noon)
		if len(list) < 2 || list[0].ID != signs || list[0].State != Signing || list[0].Algorithm != EdDSA ||
			list[len(list)-1].ID != verifies || list[len(list)-1].State != Verifying || !list[len(list)-1].RetireAt.Equal(noon.Add(time.Hour)) {
			t.Errorf("keys: %+v", list)
		}
		for _, name := range []string{"first.jwt", "second.jwt"} {
			raw, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := verifier(k).Verify(string(raw), noon); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	check(k)
	mintWith(t, k, ES256) // the first change writes the new format
	if again, err := OpenKeys(dir); err != nil {
		t.Error(err)
	} else {
		check(again)
	}
}

// chmodFiles gives the files of a key directory the mode that they need.
func chmodFiles(t *testing.T, dir string) {
	t.Helper()
	list, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range list {
		if err := os.Chmod(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// states returns what each key does, in the order of birth that names has.
func states(k *Keys, now time.Time, kids ...string) string {
	var list []string
	for _, kid := range kids {
		state := "gone"
		for _, info := range k.List(now) {
			if info.ID == kid {
				state = string(info.State)
				if info.over(now) {
					state = "over"
				}
			}
		}
		list = append(list, state)
	}
	return strings.Join(list, " ")
}

// ahead rotates and returns the new EdDSA key.
func ahead(t *testing.T, k *Keys, now time.Time, publishFor time.Duration) string {
	t.Helper()
	made, err := k.Rotate(now, time.Hour, publishFor)
	if err != nil {
		t.Fatal(err)
	}
	return made[0].ID
}

// TestPublishAhead follows keys that are published before they sign, in this process and in
// one that opens the directory at each step.
func TestPublishAhead(t *testing.T) {
	k := openKeys(t)
	first := k.signingID(EdDSA)
	second := ahead(t, k, noon, 15*time.Minute)
	third := ahead(t, k, noon.Add(10*time.Minute), 15*time.Minute) // before the second one signs
	for _, c := range []struct {
		at    time.Duration
		begin int
		want  string
	}{
		{10 * time.Minute, 0, "signing pending pending"},
		{15*time.Minute - 1, 0, "signing pending pending"},
		{15 * time.Minute, 1, "verifying signing pending"},
		{25 * time.Minute, 1, "verifying verifying signing"},
		{75*time.Minute - 1, 0, "verifying verifying signing"},
		{75 * time.Minute, 0, "over verifying signing"},
		{85 * time.Minute, 0, "over over signing"},
		{-time.Hour, 0, "verifying verifying signing"}, // the clock was set back: nothing signs again
	} {
		now := noon.Add(c.at)
		if got := states(k, now, first, second, third); got != c.want {
			t.Errorf("at %v: %s, want %s", c.at, got, c.want)
		}
		signing := k.List(now)[0].ID
		_, claims, err := Issuer{Keys: k, GatewayID: gatewayID}.Mint(request(1, time.Hour, now))
		if err != nil || claims.KeyID != signing || !k.Signs(signing, now) {
			t.Errorf("at %v: minted with %s, %s signs: %v", c.at, claims.KeyID, signing, err)
		}
		begun, err := k.Begin(now, time.Hour)
		if err != nil || len(begun) != c.begin {
			t.Errorf("at %v: begun %+v, %v", c.at, begun, err)
		}
		again, err := OpenKeys(k.dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := states(again, now, first, second, third); got != c.want {
			t.Errorf("at %v, the next process: %s, want %s", c.at, got, c.want)
		}
		if !again.NextBegin().Equal(k.NextBegin()) {
			t.Errorf("at %v: the next key begins at %v, for the next process at %v", c.at, k.NextBegin(), again.NextBegin())
		}
	}
}

// TestLateBegin: nobody calls Begin when the time comes, because no gateway runs. The next
// key signs all the same, and the old one verifies for no token less.
func TestLateBegin(t *testing.T) {
	k := openKeys(t)
	first := k.signingID(EdDSA)
	second := ahead(t, k, noon, time.Minute)
	last := mint(t, k, noon.Add(time.Minute-1), MaxTTL)
	if got := states(k, noon.Add(23*time.Hour), first, second); got != "verifying signing" {
		t.Errorf("without Begin: %s", got)
	}
	if _, err := verifier(k).Verify(last, noon.Add(23*time.Hour)); err != nil {
		t.Errorf("the old key's last token: %v", err)
	}
	// The caller knows of no lifetime over an hour, but this process has minted that token.
	if _, err := k.Begin(noon.Add(time.Hour), time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := verifier(k).Verify(last, noon.Add(23*time.Hour)); err != nil {
		t.Errorf("after Begin: %v", err)
	}
	if err := k.Prune(noon.Add(25 * time.Hour)); err != nil || len(k.List(noon)) != 1 {
		t.Errorf("after a day: %+v, %v", k.List(noon), err)
	}
}

// TestHold: a key whose beginning is put off does not sign, over a restart, and the key before
// it verifies its last token. Keys keep their order, and nothing is put into the past.
func TestHold(t *testing.T) {
	k := openKeys(t)
	first := k.signingID(EdDSA)
	second := ahead(t, k, noon, 15*time.Minute)
	third := ahead(t, k, noon, 20*time.Minute)
	hold := func(now time.Time, at map[string]time.Time) int {
		t.Helper()
		moved, err := k.Hold(now, func(i KeyInfo) time.Time {
			if at, ok := at[i.ID]; ok {
				return at
			}
			return i.Planned()
		})
		if err != nil {
			t.Fatal(err)
		}
		if k, err = OpenKeys(k.dir); err != nil {
			t.Fatal(err)
		}
		return len(moved)
	}
	hour := noon.Add(time.Hour)
	late := map[string]time.Time{second: hour}
	if n := hold(noon.Add(30*time.Minute), late); n != 2 { // nobody had called Begin
		t.Errorf("%d keys were moved", n)
	}
	if n := hold(noon.Add(31*time.Minute), late); n != 0 {
		t.Errorf("%d keys were moved again", n)
	}
	if got := states(k, hour.Add(-1), first, second, third); got != "signing pending pending" {
		t.Errorf("before: %s", got)
	}
	last := mint(t, k, hour.Add(-1), MaxTTL)
	if got := states(k, hour, first, second, third); got != "verifying verifying signing" {
		t.Errorf("after: %s", got)
	}
	if _, err := verifier(k).Verify(last, hour.Add(MaxTTL-time.Minute)); err != nil {
		t.Errorf("the first key's last token: %v", err)
	}
	if n := hold(noon.Add(40*time.Minute), nil); n != 2 || k.NextBegin().Before(noon.Add(40*time.Minute)) {
		t.Errorf("%d moved back, the next begins at %v", n, k.NextBegin())
	}
}

// TestGiveUpPending: a pending key can be retired, and one that is made to sign at once
// takes the place of those that wait.
func TestGiveUpPending(t *testing.T) {
	k := openKeys(t)
	first := k.signingID(EdDSA)
	second := ahead(t, k, noon, 10*time.Minute)
	third := ahead(t, k, noon, 20*time.Minute)
	if err := k.Retire(first, noon); !errors.Is(err, ErrSigningKey) {
		t.Errorf("retired the signing key: %v", err)
	}
	if err := k.Retire(second, noon); err != nil {
		t.Fatal(err)
	}
	if got := states(k, noon.Add(15*time.Minute), first, second, third); got != "signing gone pending" {
		t.Errorf("after the next key was given up: %s", got)
	}
	if err := k.Retire(third, noon); err != nil {
		t.Fatal(err)
	}
	if list := k.List(noon); len(list) != 1 || !list[0].RetireAt.IsZero() {
		t.Errorf("with no key that follows: %+v", list)
	}
	fourth := ahead(t, k, noon, 10*time.Minute)
	fifth := ahead(t, k, noon, 0)
	if got := states(k, noon, first, fourth, fifth); got != "verifying gone signing" {
		t.Errorf("after a rotation at once: %s", got)
	}
	if at := k.NextBegin(); !at.IsZero() {
		t.Errorf("a key that was given up begins at %v", at)
	}
	if at := k.List(noon)[1].RetireAt; !at.Equal(noon.Add(time.Hour)) {
		t.Errorf("the old key retires at %v", at)
	}
}

// TestRetireUnsettled: a key whose time came, but which Begin never settled, is retired after
// another one that signed at once. Tokens of the key before it stay good for as long as before.
func TestRetireUnsettled(t *testing.T) {
	k := openKeys(t)
	token := mint(t, k, noon, MaxTTL)
	second := ahead(t, k, noon, time.Minute)
	ahead(t, k, noon.Add(2*time.Minute), 0)
	if err := k.Retire(second, noon.Add(3*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := verifier(k).Verify(token, noon.Add(MaxTTL-time.Minute)); err != nil {
		t.Errorf("the first key's token: %v", err)
	}
	if list := k.List(noon); len(list) != 2 || !list[1].RetireAt.Equal(noon.Add(time.Minute+MaxTTL)) {
		t.Errorf("keys: %+v", list)
	}
}

// TestRotateAllKinds: each kind that was wanted has a next key, and the JWKS has all.
func TestRotateAllKinds(t *testing.T) {
	k := openKeys(t)
	if err := k.Want(noon, ES256, RS256); err != nil {
		t.Fatal(err)
	}
	made, err := k.Rotate(noon, time.Hour, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range algorithms {
		if made[i].Algorithm != a || k.signingID(a) == made[i].ID {
			t.Errorf("%s: made %+v", a, made[i])
		}
		raw := mintWith(t, k, a)
		if _, err := audience(verifier(k)).Verify(raw, noon); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	set, err := k.JWKS(noon)
	if err != nil || strings.Count(string(set), `"kid"`) != 6 || strings.Count(string(set), `"kty":"RSA"`) != 2 ||
		strings.Count(string(set), `"crv":"P-256"`) != 2 || strings.Contains(string(set), `"d"`) {
		t.Errorf("%s, %v", set, err)
	}
}

// TestTooManyKeys: rotations can't fill the directory with more keys than it can hold, or
// than a verifier reads.
func TestTooManyKeys(t *testing.T) {
	k := openKeys(t)
	full := k.now()
	for len(full) < maxKeys {
		e, err := newEntry(EdDSA, noon)
		if err != nil {
			t.Fatal(err)
		}
		full = full.succeed(e, noon, time.Hour)
	}
	k.ring = full
	signing := k.signingID(EdDSA)
	if _, err := k.Rotate(noon, time.Hour, 0); !errors.Is(err, ErrManyKeys) || k.signingID(EdDSA) != signing {
		t.Errorf("%v", err)
	}
	text, err := json.MarshalIndent(state{Format: stateFormat, Keys: k.List(noon)}, "", "  ")
	if err != nil || len(text)*len(algorithms) > maxFile {
		t.Errorf("the list of %d keys has %d bytes: %v", maxKeys, len(text), err)
	}
	if _, err := k.Rotate(noon.Add(time.Hour), time.Hour, 0); err != nil {
		t.Errorf("when they are over: %v", err)
	}
}

// TestKilledRotation has what a kill after each write of a change leaves: a rotation that
// publishes keys of all kinds ahead, their beginning, and the retirement of one. The next
// process opens the directory, has a key of each kind that signs, and verifies what was
// minted.
func TestKilledRotation(t *testing.T) {
	at := noon.Add(time.Hour)
	for name, change := range map[string]func(k *Keys) error{
		"first keys": func(k *Keys) error { return k.Want(noon, ES256) },
		"rotation": func(k *Keys) error {
			_, err := k.Rotate(noon, time.Hour, time.Minute)
			return err
		},
		"rotation at once": func(k *Keys) error {
			_, err := k.Rotate(noon, MaxTTL, 0)
			return err
		},
		"beginning": func(k *Keys) error {
			_, err := k.Begin(at, MaxTTL)
			return err
		},
		"giving up": func(k *Keys) error { return k.Retire(k.List(noon)[1].ID, noon) },
	} {
		t.Run(name, func(t *testing.T) {
			k := openKeys(t)
			if name == "beginning" || name == "giving up" {
				if _, err := k.Rotate(noon, time.Hour, time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			raw := mint(t, k, noon, MaxTTL)
			before := snapshot(t, k.dir)
			if err := change(k); err != nil {
				t.Fatal(err)
			}
			after := snapshot(t, k.dir)
			for i, files := range killed(before, after) {
				dir := filepath.Join(t.TempDir(), "keys")
				restore(t, dir, files)
				again, err := OpenKeys(dir)
				if err != nil {
					t.Fatalf("killed after %d writes: %v", i, err)
				}
				if _, err := verifier(again).Verify(raw, at); err != nil {
					t.Errorf("killed after %d writes: %v", i, err)
				}
				for _, a := range again.Algorithms() {
					mintWith(t, again, a)
				}
				if left := snapshot(t, dir); len(left) != len(again.List(noon))+1 {
					t.Errorf("killed after %d writes: %d files for %d keys", i, len(left), len(again.List(noon)))
				}
			}
		})
	}
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name()] = string(text)
	}
	return files
}

func restore(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// killed returns what a directory may hold when save and sweep are ended after each of
// their steps: new keys one by one, each with a torn file before, then the list, then old
// keys go.
func killed(before, after map[string]string) (list []map[string]string) {
	now := map[string]string{}
	step := func(change func()) {
		change()
		copied := map[string]string{}
		for name, text := range now {
			copied[name] = text
		}
		list = append(list, copied)
	}
	for name, text := range before {
		now[name] = text
	}
	names := []string{}
	for name := range after {
		if _, old := before[name]; !old {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range append(names, stateName) {
		step(func() { now[tmpPrefix+name] = after[name][:len(after[name])/2] })
		step(func() { delete(now, tmpPrefix+name); now[name] = after[name] })
	}
	for name := range before {
		if _, kept := after[name]; !kept {
			step(func() { delete(now, name) })
		}
	}
	return list
}

// TestKeyOfAnotherKind: a key directory in which somebody exchanged the kinds is refused.
func TestKeyOfAnotherKind(t *testing.T) {
	k := openKeys(t)
	if err := k.Want(noon, ES256); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(k.dir, stateName)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{`"ES256"`: `"RS256"`, `"EdDSA"`: `"none"`, k.signingID(ES256): k.signingID(EdDSA)} {
		if err := os.WriteFile(name, []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		var e *Error
		if _, err := OpenKeys(k.dir); !errors.As(err, &e) || e.Hint == "" {
			t.Errorf("%s for %s: %v", to, from, err)
		}
	}
}

// TestCheckNames: what users may give.
func TestCheckNames(t *testing.T) {
	long := strings.Repeat("a", 3000)
	for _, c := range []struct {
		what string
		err  error
		good bool
	}{
		{"a trust domain", CheckTrustDomain("example.org"), true},
		{"no trust domain", CheckTrustDomain(""), false},
		{"a trust domain in upper case", CheckTrustDomain("Example.org"), false},
		{"a trust domain with a path", CheckTrustDomain("a/b"), false},
		{"a trust domain with a port", CheckTrustDomain("a:1"), false},
		{"a long trust domain", CheckTrustDomain(long), false},
		{"an identity", CheckIdentity("ci-runner.1"), true},
		{"a path", CheckIdentity(".."), false},
		{"two segments", CheckIdentity("a/b"), false},
		{"an audience", CheckAudience("//iam.googleapis.com/projects/1/x"), true},
		{"an audience with a space", CheckAudience("a b"), false},
		{"an audience with a line break", CheckAudience("a\n"), false},
		{"a long audience", CheckAudience(long), false},
		{"a claim", CheckClaim("https://example.com/role", "x y"), true},
		{"a registered claim", CheckClaim("sub", "x"), false},
		{"one in another case", CheckClaim("Exp", "x"), false},
		{"our own", CheckClaim("openshell", "x"), false},
		{"one that binds a token", CheckClaim("cnf", "x"), false},
		{"no name", CheckClaim("", "x"), false},
		{"a letter like another", CheckClaim("\u017fub", "x"), false},
		{"a control character", CheckClaim("a", "\x1b[1m"), false},
		{"a long value", CheckClaim("a", long), false},
	} {
		if (c.err == nil) != c.good {
			t.Errorf("%s: %v", c.what, c.err)
		}
	}
	r := forAudience(ES256)
	for i := range 8 {
		r.Claims[fmt.Sprint("c", i)] = long[:1000]
	}
	if _, _, err := (Issuer{Keys: openKeys(t), GatewayID: gatewayID}).Mint(r); !errors.Is(err, ErrTooLarge) {
		t.Errorf("more claims than a verifier reads: %v", err)
	}
}
