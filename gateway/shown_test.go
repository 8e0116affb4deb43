package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/share"
)

// TestShownShares: a share of the user's own in two sandboxes. It is published once for both, what
// each sees is told, and it stays while a sandbox has it.
func TestShownShares(t *testing.T) {
	engine := &seeing{fake: newFake("fake"), seen: map[string]uint64{}}
	engine.staleness = 10 * time.Millisecond
	w := newWorld(t, engine)
	w.run()
	_, err := w.client.Create(t.Context(), api.CreateRequest{Name: "early", Driver: "fake", Shares: []api.ShownShare{{Name: "team"}}})
	refused(t, err, api.CodeNotFound, `there is no share "team"`)
	team, err := w.client.Shares.Create(t.Context(), api.ShareRequest{Name: "team"})
	w.must(err)
	a := w.create(api.CreateRequest{Name: "a", At: "/home/agent/.ssh/", Shares: []api.ShownShare{{Name: "team"}}})
	b := w.create(api.CreateRequest{Name: "b", Shares: []api.ShownShare{{Name: "team", Target: "/srv/team"}}})
	for _, c := range []struct {
		id, at, target string
	}{{a.ID, "/home/agent/.ssh", "/etc/openshell/shares/team"}, {b.ID, drivers.AuthDir, "/srv/team"}} {
		spec := engine.spec(c.id)
		if len(spec.Shares) != 1 || spec.Shares[0].Mount.Source() != team.Dir || spec.Shares[0].Mount.Target() != c.target ||
			spec.Auth.Target() != c.at {
			t.Errorf("the driver is told %+v and %+v", spec.Shares, spec.Auth)
		}
	}
	w.start("a")
	w.start("b")
	n := w.putNow("team")
	r, err := w.client.Shares.Wait(t.Context(), "team", api.SeenRequest{Generation: n})
	w.must(err)
	var names []string
	for _, v := range r.Viewers {
		names = append(names, fmt.Sprint(v.Name, v.Generation == n))
	}
	if slices.Sort(names); !r.Seen || !slices.Equal(names, []string{"atrue", "btrue"}) {
		t.Errorf("%+v", r)
	}
	w.eventually("inspect tells what is seen of it", func() bool {
		s := w.get("b").Shares
		return len(s) == 1 && s[0].Name == "team" && s[0].Target == "/srv/team" && s[0].Generation == n && s[0].SeenGeneration == n && s[0].SeenAfter > 0
	})
	if s, err := w.client.Shares.Get(t.Context(), "team"); err != nil || !slices.Equal(s.UsedBy, []string{"a", "b"}) || s.Token.Generation != n {
		t.Errorf("%+v, %v", s, err)
	}
	if all, err := w.client.Shares.List(t.Context()); err != nil || len(all) != 1 || !slices.Equal(all[0].UsedBy, []string{"a", "b"}) {
		t.Errorf("%+v, %v", all, err)
	}

	for _, name := range []string{"a", "b"} { // so that only the shared one is late
		w.eventually("its own share is seen", func() bool {
			token := w.get(name).Token
			return token.SeenGeneration == token.Generation
		})
	}
	engine.set(true, nil)
	late := w.putNow("team")
	_, err = w.client.Shares.Wait(t.Context(), "team", api.SeenRequest{Timeout: time.Second})
	refused(t, err, api.CodeNotSeen, fmt.Sprintf("does not see generation %d", late))
	w.eventually("ps tells that it is not seen", func() bool {
		s := w.get("a")
		return len(s.Shares) == 1 && !s.Shares[0].UnseenSince.IsZero() && s.Token.UnseenSince.IsZero()
	})
	engine.set(false, nil)
	_, err = w.client.Shares.Wait(t.Context(), "team", api.SeenRequest{})
	w.must(err)

	refused(t, w.client.Shares.Remove(t.Context(), "team", false), api.CodeConflict, "the share team is in use by a, b")
	w.must(w.client.Remove(t.Context(), "a", true))
	refused(t, w.client.Shares.Remove(t.Context(), "team", false), api.CodeConflict, "the share team is in use by b")
	w.must(w.client.Shares.Remove(t.Context(), "team", true))
	if s := w.get("b").Shares; len(s) != 1 || s[0].Generation != 0 {
		t.Errorf("of a share that is gone: %+v", s)
	}
	_, err = w.client.Stop(t.Context(), "b", 0)
	w.must(err)
	_, err = w.client.Start(t.Context(), "b")
	refused(t, err, api.CodeNotFound, `there is no share "team"`)
	_, err = w.client.Shares.Create(t.Context(), api.ShareRequest{Name: "team"})
	w.must(err)
	w.start("b") // its place is the same
}

// TestShownShareIsFresh: nothing starts before the shares that it sees hold a fresh token, however
// long ago the last one expired.
func TestShownShareIsFresh(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	team, err := w.client.Shares.Create(t.Context(), api.ShareRequest{Name: "team"})
	w.must(err)
	w.create(api.CreateRequest{Name: "a", Shares: []api.ShownShare{{Name: "team"}}})
	own, err := w.gateway.shares.Find("team")
	w.must(err)
	_, err = own.Lease.Share().Publish(t.Context(), 0, func(uint64) ([]share.File, error) {
		return []share.File{{Name: "sandbox.jwt", Data: []byte("no token at all")}}, nil
	})
	w.must(err)
	w.start("a")
	data, err := os.ReadFile(filepath.Join(team.Dir, "sandbox.jwt"))
	w.must(err)
	if string(data) == "no token at all" {
		t.Error("it was started with what was there")
	}
}

// TestShownShareOutlasts: a share's grace and its lifetimes suit the slowest of those who see it.
func TestShownShareOutlasts(t *testing.T) {
	engine := newFake("fake")
	engine.staleness = 6 * time.Second
	w := newWorld(t, engine)
	w.run()
	for name, ttl := range map[string]time.Duration{"short": 16 * time.Second, "team": time.Minute} {
		_, err := w.client.Shares.Create(t.Context(), api.ShareRequest{Name: name, TTL: ttl})
		w.must(err)
	}
	_, err := w.client.Create(t.Context(), api.CreateRequest{Name: "a", Driver: "fake", Shares: []api.ShownShare{{Name: "short"}}})
	refused(t, err, api.CodeInvalid, "the share short can't be shown in this sandbox: ")
	w.create(api.CreateRequest{Name: "a", Shares: []api.ShownShare{{Name: "team"}}})
	own, err := w.gateway.shares.Find("team")
	w.must(err)
	if r := own.Rec(); r.Staleness != 6*time.Second {
		t.Errorf("its bound is %v", r.Staleness)
	}
	old := w.putNow("team")
	w.putNow("team") // the file of before is withdrawn, which ends its grace
	held := filepath.Join(own.Lease.Share().AuthDir(), fmt.Sprintf("..gen-%08d", old), "f")
	for _, after := range []time.Duration{11 * time.Second, 13 * time.Second} {
		_, err := own.Lease.Share().Prune(t.Context(), time.Now().Add(after))
		w.must(err)
		if _, err := os.Stat(held); (err == nil) != (after < 12*time.Second) {
			t.Errorf("%v after it was superseded: %v", after, err)
		}
	}
}
