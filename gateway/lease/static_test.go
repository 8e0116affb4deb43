package lease

import (
	"context"
	"encoding/base64"
	"fmt"
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
)

// foreign is a token of somebody else's.
func foreign(issued, expires time.Time) []byte {
	enc := base64.RawURLEncoding.EncodeToString
	return []byte(enc([]byte(`{"alg":"RS256"}`)) + "." +
		enc(fmt.Appendf(nil, `{"iat":%d,"exp":%d}`, issued.Unix(), expires.Unix())) + "." + enc([]byte("signed")))
}

type ctx = context.Context

// own makes a keeper with one renewed lease that has its user's own token from a file, and the
// lines of which the user was warned.
func own(t *testing.T) (k *Keeper, l *Lease, path string, warned *[]string) {
	k, all := kept(t, time.Hour, 1, io.Discard)
	l, path, warned = all[0], filepath.Join(t.TempDir(), "token"), &[]string{}
	l.holder.(*holding).tokens.Store(&vocab.Tokens{Mode: vocab.StaticToken, Static: path})
	k.opts.Warned = func(_ *Lease, line string) { *warned = append(*warned, line) }
	followed{k}.begin(l)
	return k, l, path, warned
}

// TestStaticIsNeverDue: nothing renews a user's own token, and nothing publishes it anew while
// the file stays the same. Its user is warned before it expires, and when it has; in the end the
// same token is still there, and the lease still in the schedule.
func TestStaticIsNeverDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, l, path, warned := own(t)
		now := time.Now()
		token := foreign(now, now.Add(10*time.Hour))
		if err := os.WriteFile(path, token, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := k.Deliver(t.Context(), l, nil); err != nil {
			t.Fatal(err)
		}
		defer serving(t, k)()
		for _, step := range []struct {
			after time.Duration
			says  []string
		}{
			{8*time.Hour + 59*time.Minute, nil},
			{9*time.Hour + time.Minute, []string{"expires at"}},
			{9*time.Hour + 59*time.Minute, []string{"expires at"}},
			{10*time.Hour + time.Minute, []string{"expires at", "has expired"}},
			{100 * time.Hour, []string{"expires at", "has expired"}},
		} {
			time.Sleep(time.Until(now.Add(step.after)))
			synctest.Wait() // what was due then is over
			said := func(part string) bool {
				return slices.ContainsFunc(*warned, func(line string) bool { return strings.Contains(line, part) && strings.Contains(line, path) })
			}
			if len(*warned) != len(step.says) || len(step.says) > 0 && !said(step.says[len(step.says)-1]) {
				t.Errorf("after %v: %q", step.after, *warned)
			}
			if r := renewal(l); (r.Problem != "") != (len(step.says) > 0) || r.Renewals != 1 || r.Failures != 0 {
				t.Errorf("after %v: %+v", step.after, r)
			}
		}
		content, err := share.Read(l.Share().AuthDir())
		if err != nil || string(content.Files[contract.TokenName]) != string(token) || !l.Scheduled() {
			t.Errorf("%v, scheduled: %t", err, l.Scheduled())
		}
		if err := k.Deliver(t.Context(), l, func(ctx) error { t.Error("it was started"); return nil }); err == nil {
			t.Error("a start with an expired token")
		}
		fresh := foreign(time.Now(), time.Now().Add(time.Hour))
		if err := os.WriteFile(path, fresh, 0o600); err != nil {
			t.Fatal(err)
		}
		started := false
		if err := k.Deliver(t.Context(), l, func(ctx) error { started = true; return nil }); err != nil || !started || renewal(l).Problem != "" {
			t.Errorf("%v, started: %t, %q", err, started, renewal(l).Problem)
		}
	})
}

// TestStaticAfterRestart: a keeper that finds a share with its user's own token takes it as it is,
// whether the file is there or not, and a rotation of keys does not concern it.
func TestStaticAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, l, path, _ := own(t)
		token := foreign(time.Now(), time.Now().Add(time.Hour))
		publishRaw(t, l, token)
		defer serving(t, k)()
		if r := renewal(l); !r.Static || r.ExpiresAt.IsZero() || r.Renewals != 0 {
			t.Errorf("%+v", r)
		}
		result, err := k.RotateKeys(t.Context(), 0)
		if err != nil || result.Shares.Failed+result.Shares.Waiting != 0 || renewal(l).Renewals != 0 {
			t.Errorf("%+v, %v, %+v", result, err, renewal(l))
		}
		if err := k.Deliver(t.Context(), l, nil); err != nil || !strings.Contains(renewal(l).Problem, path+" can't be published: no such file") {
			t.Errorf("%v, %q", err, renewal(l).Problem)
		}
		content, err := share.Read(l.Share().AuthDir())
		if err != nil || string(content.Files[contract.TokenName]) != string(token) {
			t.Errorf("the last good token is gone: %v", err)
		}
		if !k.Superseded(l.id, contract.TokenName, token) {
			t.Error("a reader that holds the token's path loses it at once")
		}
	})
}

// TestStaticWithoutAny: without a file and without a share that holds a token, nothing is
// published, and that is a failure.
func TestStaticWithoutAny(t *testing.T) {
	k, l, path, _ := own(t)
	if err := k.Deliver(t.Context(), l, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if _, err := share.Read(l.Share().AuthDir()); err == nil {
		t.Error("something was published")
	}
}
