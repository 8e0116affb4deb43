package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
)

// TestFailedRemovalKeepsRenewing: a sandbox that the engine could not remove still runs, so
// its token is renewed, whether or not the wish to remove is on disk. If the wish is on disk,
// the removal is shown, and is done once the engine works again.
func TestFailedRemovalKeepsRenewing(t *testing.T) {
	for _, noted := range []bool{true, false} {
		t.Run(fmt.Sprint("noted-", noted), func(t *testing.T) {
			engine := newFake("fake")
			w := newWorld(t, engine)
			g := w.run()
			s := w.create(api.CreateRequest{Name: "one"})
			w.start("one")
			engine.failing("remove", errors.New("the engine hangs"))
			inTheWay := g.home.RecordPath(s.ID) + state.NewSuffix
			if !noted {
				w.must(os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700))
			}
			err := w.client.Remove(t.Context(), "one", true)
			if err == nil || !strings.Contains(err.Error(), "one is not removed") {
				t.Fatalf("the removal: %v", err)
			}
			if goesOn := strings.Contains(err.(*api.Error).Hint, "goes on trying"); goesOn != noted {
				t.Errorf("the hint is %q", err.(*api.Error).Hint)
			}
			if !g.keeper.Renewals().Has(s.ID) {
				t.Error("it runs, and nothing renews it")
			}
			v := w.get("one")
			if v.State != "running" || noted != strings.Contains(v.Reason, "can't be removed yet") {
				t.Errorf("it is shown as %s, %s: %q", v.State, v.Desired, v.Reason)
			}
			raw, err := os.ReadFile(filepath.Join(s.Share, contract.TokenName))
			w.must(err)
			if !w.verdict(raw) {
				t.Error("it runs, and its token is refused")
			}
			engine.failing("remove", nil)
			if !noted {
				w.must(os.RemoveAll(inTheWay))
				w.must(w.client.Remove(t.Context(), "one", true))
			}
			w.eventually("it is removed", func() bool { return g.byID(s.ID) == nil })
			if g.keeper.Renewals().Has(s.ID) {
				t.Error("what is gone is renewed")
			}
		})
	}
}

// TestStoppedIsNotRenewed: the token of a stopped sandbox is left to expire, also by the next
// gateway, and no metric counts it. A start delivers one fresh token. If the engine starts
// the sandbox by itself, it is renewed as soon as the gateway sees that.
func TestStoppedIsNotRenewed(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	stop := func() {
		_, err := w.client.Stop(t.Context(), "one", time.Second)
		w.must(err)
	}
	s := w.create(api.CreateRequest{Name: "one"})
	if g.keeper.Renewals().Has(s.ID) {
		t.Error("what was never started is renewed")
	}
	w.start("one")
	if !g.keeper.Renewals().Has(s.ID) {
		t.Fatal("what runs is not renewed")
	}
	stop()
	if g.keeper.Renewals().Has(s.ID) {
		t.Error("what is stopped is renewed")
	}
	before := w.get("one").Token.Generation
	w.stop()
	expire(t, g, g.byID(s.ID)) // of generation before+1

	g = w.run()
	w.eventually("the next gateway has heard that it is stopped", func() bool { return !g.keeper.Renewals().Has(s.ID) })
	if v := w.get("one"); v.Token.Generation != before+1 || v.Token.Renewals != 0 {
		t.Errorf("it was renewed: %+v, generation %d before", v.Token, before)
	}
	if n := g.census.Count(time.Now()); n.Expired != 0 || n.Failing != 0 {
		t.Errorf("counted: %+v", n)
	}
	w.start("one")
	if now := w.get("one").Token.Generation; now != before+2 || !g.keeper.Renewals().Has(s.ID) {
		t.Errorf("the start came to generation %d after %d; renewed: %v", now, before+1, g.keeper.Renewals().Has(s.ID))
	}
	stop()
	w.must(engine.Start(t.Context(), s.ID))
	engine.failing("stop", errors.New("it goes on"))
	w.eventually("what runs, whoever started it, is renewed", func() bool { return g.keeper.Renewals().Has(s.ID) })
	engine.failing("stop", nil)
}

// TestStoppedUnderASilentEngine: after a restart the engine does not answer. A sandbox that
// should be stopped may run, so it is renewed, but not at once.
func TestStoppedUnderASilentEngine(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	w.stop()
	expire(t, g, g.byID(s.ID))
	engine.hangList = make(chan struct{})
	defer close(engine.hangList)
	g = w.run()
	w.eventually("its token is fresh", func() bool { return token(g.byID(s.ID)).Renewals > 0 })
	if !g.keeper.Renewals().Has(s.ID) {
		t.Error("nothing renews it any more")
	}
}

// TestRemovalOfAShareKeepsRenewing: a share is renewed until its removal is complete.
func TestRemovalOfAShareKeepsRenewing(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	own := w.share(api.ShareRequest{Name: "agent"})
	s := g.byID(own.ID)
	unlock := hold(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Erase(locked(t, s, ctx), func(context.Context) error { return nil }); err == nil {
		t.Fatal("the removal went through")
	}
	s.Op.Unlock()
	if !g.keeper.Renewals().Has(s.ID) {
		t.Error("it is there, and nothing renews it")
	}
	unlock()
	w.must(w.client.Shares.Remove(t.Context(), "agent", false))
	if g.keeper.Renewals().Has(s.ID) {
		t.Error("what is gone is renewed")
	}
}

// locked takes the lock of a sandbox's operations.
func locked(t testing.TB, s *roster.Item, ctx context.Context) context.Context {
	t.Helper()
	if err := s.Op.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// hold takes the lock of a share, as another process could.
func hold(t testing.TB, s *roster.Item) (release func()) {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(s.Lease.Share().Dir(), "lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { lock.Close() }
}

// TestUphold: a token that is off the schedule by a fault is put back and counted.
func TestUphold(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.share(api.ShareRequest{Name: "one"})
	w.share(api.ShareRequest{Name: "two"})
	w.stop()
	g := w.open()
	all := g.all()
	for _, s := range all {
		s.Uphold()
	}
	if n := repairs(t, g); n != 0 {
		t.Errorf("%v repairs of nothing", n)
	}
	g.keeper.Renewals().Remove(all[0].ID)
	all[0].Uphold()
	if n := repairs(t, g); n != 1 || !g.keeper.Renewals().Has(all[0].ID) {
		t.Errorf("%v repairs, planned: %v", n, g.keeper.Renewals().Has(all[0].ID))
	}
}

// TestLockedSharesDelayNobody: when a gateway starts, all tokens have expired and the locks
// of many shares are held, more than there are workers. The other shares are fresh and the
// API is served before the publish of the first locked share has failed.
func TestLockedSharesDelayNobody(t *testing.T) {
	w := newWorld(t)
	w.run()
	for i := range 27 {
		w.share(api.ShareRequest{Name: fmt.Sprint("n", i), TTL: 16 * time.Second})
	}
	first := w.gateway
	w.stop()
	for _, s := range first.all() {
		expire(t, first, s)
		if s.Rec().Name >= "n3" || len(s.Rec().Name) > 2 {
			defer hold(t, s)()
		}
	}
	g := w.run()
	w.eventually("the others are fresh", func() bool { return renewed(g) == 3 })
	for _, s := range g.all() {
		if v := token(s); v.Failures > 0 {
			t.Errorf("%s was given up before the others were served", s.Rec().Name)
		} else if v.ExpiresAt.IsZero() {
			t.Errorf("nothing is known of %s's token", s.Rec().Name)
		}
	}
}

// TestHungStartsDelayNoOther: starts that hang in one engine do not delay another engine.
// They can be stopped and removed, and so can those that wait for their turn.
func TestHungStartsDelayNoOther(t *testing.T) {
	hangs, well := newFake("hangs"), newFake("well")
	w := newWorld(t, hangs, well)
	w.run()
	var all []api.Sandbox
	for i := range sandbox.MaxResumes + 2 {
		all = append(all, w.create(api.CreateRequest{Driver: "hangs", Name: fmt.Sprint("n", i)}))
	}
	other := w.create(api.CreateRequest{Driver: "well", Name: "other"})
	for _, s := range append(all, other) {
		w.start(s.Name)
	}
	w.stop()
	for _, s := range all {
		hangs.end(s.ID, 137)
	}
	well.end(other.ID, 137)
	block := make(chan struct{})
	hangs.block = block
	defer close(block)
	w.run()
	starts := func() (n int) {
		for _, s := range all {
			n += hangs.count("start "+s.ID) - 1
		}
		return n
	}
	w.eventually("the places are taken", func() bool { return starts() == sandbox.MaxResumes })
	w.eventually("the other engine's runs", func() bool { return w.get("other").State == "running" })
	stopped, err := w.client.Stop(t.Context(), all[0].Name, 0)
	if err != nil || stopped.State != "exited" || stopped.Desired != state.WantStopped {
		t.Errorf("stopped: %+v, %v", stopped, err)
	}
	for _, s := range all {
		w.must(w.client.Remove(t.Context(), s.Name, true))
	}
	for _, s := range all {
		if hangs.get(s.ID) != nil {
			t.Errorf("%s is left", s.Name)
		}
	}
}

// TestStartIsToldWhoEndedIt: a start was cancelled by a stop or a removal. Its caller's error
// says so.
func TestStartIsToldWhoEndedIt(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	block := make(chan struct{})
	engine.block = block
	defer close(block)
	started := make(chan error, 1)
	go func() {
		_, err := w.client.Start(t.Context(), "one")
		started <- err
	}()
	w.eventually("it hangs", func() bool { return engine.count("start "+s.ID) == 1 })
	refused(t, w.client.Remove(t.Context(), "one", false), api.CodeConflict, "is starting")
	w.must(w.client.Remove(t.Context(), "one", true))
	refused(t, <-started, api.CodeConflict, "stopped or removed meanwhile")
}

// TestGivenUpRemovalLeavesNothingQueued: a start hangs and can't be cancelled. The client
// that wanted the sandbox removed gives up. The sandbox stays.
func TestGivenUpRemovalLeavesNothingQueued(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	block := make(chan struct{})
	engine.block, engine.deaf = block, true
	started := make(chan struct{})
	go func() {
		_, _ = w.client.Start(t.Context(), "one")
		close(started)
	}()
	w.eventually("it hangs", func() bool { return engine.count("start "+s.ID) == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for _, ask := range []func() error{
		func() error { return w.client.Remove(ctx, "one", true) },
		func() error { _, err := w.client.Stop(ctx, "one", 0); return err },
	} {
		if err := ask(); err == nil {
			t.Error("it went through")
		}
	}
	w.eventually("nobody waits", func() bool { return g.byID(s.ID).Op.Urgent() == 0 })
	close(block)
	<-started
	if v := w.get("one"); v.Desired == state.WantGone || engine.get(s.ID) == nil {
		t.Errorf("it was removed behind everybody's back: %+v", v)
	}
}

// TestLostIsConfirmed: an engine's list may be incomplete.
func TestLostIsConfirmed(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	w.start("one")
	inspected, looks := engine.count("inspect "+s.ID), engine.count("list ")
	engine.hide(s.ID)
	w.eventually("it is looked for, more than once", func() bool {
		return engine.count("inspect "+s.ID) > inspected+2 && engine.count("list ") > looks+2
	})
	if v := w.get("one"); v.State != "running" || !g.keeper.Renewals().Has(s.ID) {
		t.Errorf("it is %s, planned: %v", v.State, g.keeper.Renewals().Has(s.ID))
	}
	tokenOf(t, g, s.Share)
}

// TestLongStartIsTold: the driver's progress of a start is shown until the start ends.
func TestLongStartIsTold(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	block := make(chan struct{})
	engine.block = block
	started := make(chan error, 1)
	go func() {
		_, err := w.client.Start(t.Context(), "one")
		started <- err
	}()
	w.eventually("it starts", func() bool { return engine.count("start "+s.ID) == 1 })
	engine.reason(s.ID, "preparing its root,\x1b[2J 8000 files so far")
	w.eventually("it is told", func() bool {
		v := w.get("one")
		return v.State == api.StateStarting && v.Progress == "preparing its root, 8000 files so far" && v.Reason == v.Progress
	})
	engine.reason(s.ID, "")
	close(block)
	w.must(<-started)
	if v := w.get("one"); v.Progress != "" || v.Reason != "" {
		t.Errorf("it runs, and is told as %q, %q", v.Progress, v.Reason)
	}
}

// TestCreatedForNobody: if the client goes away before its sandbox is made, nobody knows of
// the sandbox, and so it is removed.
func TestCreatedForNobody(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	ctx, leave := context.WithCancel(t.Context())
	engine.onCreate = func(asked context.Context) {
		leave()
		<-asked.Done() // and makes it all the same
	}
	if _, err := w.client.Create(ctx, api.CreateRequest{Name: "one", Process: api.Process{Args: []string{"sleep"}}}); err == nil {
		t.Fatal("it is answered")
	}
	w.eventually("it is gone", func() bool { return len(g.all()) == 0 })
	list, err := engine.List(t.Context())
	w.must(err)
	left, err := os.ReadDir(g.home.Shares)
	w.must(err)
	if len(list) != 0 || len(left) != 0 {
		t.Errorf("left: %+v, %v", list, left)
	}
}

// TestUnseenIsNotRemoved: while its engine does not answer nobody knows whether a sandbox
// runs. It is removed by force only, and a stop says that it goes on trying.
func TestUnseenIsNotRemoved(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	w.start("one")
	w.stop()
	down := errors.New("connection refused")
	for _, method := range []string{"list", "inspect", "remove", "stop"} {
		engine.failing(method, down)
	}
	w.run()
	refused(t, w.client.Remove(t.Context(), "one", false), api.CodeInternal, "whether sandbox one runs is not known")
	if v := w.get("one"); v.Desired != state.WantRunning {
		t.Errorf("it is to be %s", v.Desired)
	}
	_, err := w.client.Stop(t.Context(), "one", 0)
	if e, ok := err.(*api.Error); !ok || !strings.Contains(e.Hint, "goes on trying to stop it") {
		t.Errorf("the stop: %v", err)
	}
	if _, err = w.client.Start(t.Context(), "one"); err != nil {
		t.Logf("its start: %v", err)
	}
	for _, method := range []string{"list", "inspect", "remove", "stop"} {
		engine.failing(method, nil)
	}
	w.eventually("it is there when the engine answers", func() bool { return w.get("one").State != api.StateUnknown })
	if engine.get(s.ID) == nil {
		t.Error("it was removed")
	}
}
