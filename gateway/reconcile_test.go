package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// expire makes the share's token an expired one. Even the shortest lifetime is too long to
// wait for, so it publishes a token that was issued in the past.
func expire(t *testing.T, g *Gateway, s *roster.Item) (raw string) {
	t.Helper()
	old, claims, err := g.minter().Mint(tokens.Request{SandboxID: s.ID, Generation: token(s).Generation + 1, TTL: s.Rec().TTL(), Now: time.Now().Add(-2 * s.Rec().TTL())})
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := json.Marshal(contract.Metadata{Generation: claims.Generation, IssuedAt: claims.IssuedAt, ExpiresAt: claims.ExpiresAt})
	if err != nil {
		t.Fatal(err)
	}
	publishRaw(t, s, []byte(old), metadata)
	return string(old)
}

// TestResume: the gateway was down for longer than the token lives, and the sandbox was ended
// from outside. It is resumed with a fresh token, and the old one is refused. A sandbox that
// ended by itself is not resumed.
func TestResume(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	killed, done, kept := w.create(api.CreateRequest{Name: "killed"}), w.create(api.CreateRequest{Name: "done"}), w.create(api.CreateRequest{Name: "kept"})
	for _, s := range []api.Sandbox{killed, done, kept} {
		w.start(s.Name)
	}
	first := w.gateway
	w.stop()
	old := expire(t, first, first.byID(killed.ID))
	expire(t, first, first.byID(kept.ID))
	engine.end(killed.ID, 137)
	engine.end(done.ID, 0)

	var atStart error
	engine.onStart = func(spec drivers.Spec) {
		_, atStart = w.gateway.readToken(w.gateway.byID(spec.ID), time.Now())
	}
	g := w.run()
	w.eventually("the killed one runs again", func() bool { return w.get("killed").State == "running" })
	if atStart != nil {
		t.Errorf("the token at the resume: %v", atStart)
	}
	tokenOf(t, g, killed.Share)
	w.eventually("the kept one is renewed", func() bool { return w.get("kept").Token.ExpiresAt.After(time.Now()) })
	tokenOf(t, g, kept.Share)
	if r, err := w.client.Tokens.Verify(t.Context(), api.VerifyRequest{Token: old}); err != nil || r.Valid || !strings.Contains(r.Problem, "expired") {
		t.Errorf("the old token: %+v, %v", r, err)
	}
	w.eventually("the one that was done is settled", func() bool { return w.get("done").Desired == state.WantStopped })
	for s, starts := range map[string]int{killed.ID: 2, done.ID: 1, kept.ID: 1} {
		if n := engine.count("start " + s); n != starts {
			t.Errorf("%d starts of %s, %d are wanted", n, s, starts)
		}
	}
}

// TestResumeDoesNotWaitForOthers: one start hangs, one engine does not answer.
func TestResumeDoesNotWaitForOthers(t *testing.T) {
	engine, broken := newFake("fake"), newFake("broken")
	w := newWorld(t, engine, broken)
	w.run()
	hangs, starts, lost := w.create(api.CreateRequest{Name: "hangs"}), w.create(api.CreateRequest{Name: "starts"}), w.create(api.CreateRequest{Driver: "broken", Name: "lost"})
	for _, s := range []api.Sandbox{hangs, starts, lost} {
		w.start(s.Name)
	}
	w.stop()
	engine.end(hangs.ID, 137)
	engine.end(starts.ID, 137)
	broken.failing("list", errors.New("connection refused"))
	broken.failing("inspect", errors.New("connection refused"))
	release := make(chan struct{})
	engine.block = release
	w.run()
	if s := w.get("lost"); !strings.Contains(s.Reason, "connection refused") || s.Token.Failures != 0 {
		t.Errorf("with the engine gone: %q, %d failed renewals", s.Reason, s.Token.Failures)
	}
	w.eventually("both are on their way", func() bool { return engine.count("start "+hangs.ID)+engine.count("start "+starts.ID) == 4 })
	close(release)
	w.eventually("both run", func() bool { return w.get("hangs").State == "running" && w.get("starts").State == "running" })
}

// TestLost: a sandbox was removed with the engine's own tools. It is shown as dead, its share
// is removed, and a start makes it anew.
func TestLost(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	before := w.start("one").Token.Generation
	engine.forget(s.ID)
	w.eventually("it is reported", func() bool { s := w.get("one"); return s.State == "dead" && strings.Contains(s.Reason, "removed") })
	w.eventually("its share is gone", func() bool { _, err := os.Stat(filepath.Dir(s.Share)); return os.IsNotExist(err) })
	w.stop() // a lost one is no failure for the next gateway
	g := w.run()
	if s := w.get("one"); s.State != "dead" || s.Token.Failures > 0 {
		t.Errorf("after a restart: %+v", s)
	}
	w.start("one")
	if generation, _ := tokenOf(t, g, s.Share); generation <= before {
		t.Errorf("generation %d before, %d after", before, generation)
	}
	if s := w.get("one"); s.State != "running" || s.Reason != "" {
		t.Errorf("made anew: %+v", s)
	}
}

// TestWaitForLost: for a sandbox that was removed with the engine's own tools, wait returns a
// failure. If the gateway saw before how it ended, wait returns that.
func TestWaitForLost(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	wait := func(name string) api.WaitResult {
		t.Helper()
		r, err := w.client.Wait(t.Context(), name)
		w.must(err)
		return r
	}
	ids := map[string]string{}
	for _, name := range []string{"created", "running", "waited", "ended"} {
		ids[name] = w.create(api.CreateRequest{Name: name}).ID
		if name != "created" {
			w.start(name)
		}
	}
	engine.end(ids["ended"], 7)
	w.eventually("its end is seen", func() bool { return w.get("ended").State == "exited" })
	result := make(chan api.WaitResult, 1)
	go func() {
		r, err := w.client.Wait(t.Context(), "waited")
		if err != nil {
			t.Error(err)
		}
		result <- r
	}()
	w.eventually("somebody waits", func() bool {
		return clients(g, ids["waited"]) > 0
	})
	for _, id := range ids {
		engine.forget(id)
	}
	lost := func(name string, r api.WaitResult) {
		t.Helper()
		if r.ExitCode == 0 || !strings.Contains(r.Reason, "removed") {
			t.Errorf("%s: wait says %+v", name, r)
		}
	}
	select {
	case r := <-result:
		lost("waited", r)
	case <-time.After(patience):
		t.Fatal("wait hangs")
	}
	lost("created", wait("created"))
	lost("running", wait("running"))
	if r := wait("ended"); r.ExitCode != 7 {
		t.Errorf("ended: wait says %+v, it ended with 7", r)
	}
	w.eventually("all are lost", func() bool {
		return !slices.ContainsFunc(g.all(), func(s *roster.Item) bool { return s.Rec().Lost == "" })
	})
	w.stop()
	w.run() // it has not seen how they ended
	for name := range ids {
		lost(name, wait(name))
	}
}

// TestWaitForUnknown: wait also returns a failure for a sandbox that is removed before its
// engine has answered.
func TestWaitForUnknown(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	id := w.create(api.CreateRequest{Name: "one"}).ID
	w.start("one")
	w.stop()
	engine.hangList = make(chan struct{})
	defer close(engine.hangList)
	s := w.run().byID(id)
	locked(t, s, t.Context()) // a removal is under way
	defer s.Op.Unlock()
	engine.forget(id)
	inspected := engine.count("inspect " + id)
	result := make(chan api.WaitResult, 1)
	go func() {
		r, err := w.client.Wait(t.Context(), "one")
		if err != nil {
			t.Error(err)
		}
		result <- r
	}()
	w.eventually("it is found missing", func() bool { return engine.count("inspect "+id) > inspected+2 })
	s.Set(func() { s.Removed = true })
	select {
	case r := <-result:
		if r.ExitCode != 125 || !strings.Contains(r.Reason, "removed") {
			t.Errorf("wait says %+v", r)
		}
	case <-time.After(patience):
		t.Fatal("wait hangs")
	}
}

// TestLostIsNotRenewed: a sandbox that its engine does not have any more stays off the
// schedule, even if a renewal was under way. No metric counts it as failing.
func TestLostIsNotRenewed(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	id := w.create(api.CreateRequest{Name: "one"}).ID
	w.start("one")
	s := g.byID(id)
	engine.forget(id)
	w.eventually("it is lost", func() bool { return s.Rec().Lost != "" })
	_, err := w.client.Tokens.Rotate(t.Context(), "one")
	refused(t, err, api.CodeConflict, "has no share")
	if err := s.Deliver(t.Context(), nil); err == nil { // as a renewal that was under way
		t.Error("a token was published for it")
	}
	if !plannedFor(g, id).IsZero() {
		t.Error("what is lost is renewed")
	}
	for _, metric := range []string{"openshell_publish_failures_total", "openshell_sandboxes_failing", "openshell_sandboxes_expired"} {
		if n := counted(t, g, metric); n != 0 {
			t.Errorf("%s is %v", metric, n)
		}
	}
	if v := w.get("one"); v.Token.Failures != 0 || v.Token.LastError != "" {
		t.Errorf("it fails: %+v", v.Token)
	}
	if log := w.log.String(); strings.Contains(log, "renewal failed") {
		t.Error("the log has a failed renewal")
	}
}

// TestAdopt: the records are lost, the engine still has the sandboxes.
func TestAdopt(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	runs, stopped := w.create(api.CreateRequest{Name: "runs", TTL: 40 * time.Minute}), w.create(api.CreateRequest{Name: "stopped"})
	w.start("runs")
	home := w.gateway.home
	w.stop()
	w.must(os.RemoveAll(home.Sandboxes()))
	g := w.run()
	for _, before := range []api.Sandbox{runs, stopped} {
		now := w.get(before.Name)
		if now.ID != before.ID || now.TTL != before.TTL || now.Share != before.Share {
			t.Errorf("%s came back as %+v", before.Name, now)
		}
		tokenOf(t, g, now.Share)
	}
	if s := w.get("runs"); s.State != "running" || s.Desired != state.WantRunning {
		t.Errorf("it is %s, desired %s", s.State, s.Desired)
	}
	w.must(w.client.Remove(t.Context(), "runs", true))
	w.start("stopped")
}

// TestCutOffOperations: records as a killed gateway leaves them.
func TestCutOffOperations(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	for _, name := range []string{"unmade", "gone", "halted", "asked"} {
		w.create(api.CreateRequest{Name: name})
	}
	w.start("gone")
	w.start("halted")
	g := w.gateway
	ids := map[string]string{}
	change := map[string]func(*state.Record){
		"unmade": func(r *state.Record) { r.Made = false },
		"gone":   func(r *state.Record) { r.Want(state.WantGone) },
		"halted": func(r *state.Record) { r.Want(state.WantStopped) },
		"asked":  func(r *state.Record) { r.Want(state.WantRunning) },
	}
	w.stop()
	for name, f := range change {
		s := g.named(name)
		ids[name] = s.ID
		w.must(s.Update(f))
	}
	w.must(os.Mkdir(g.home.SandboxDir("emptyemptyem"), 0o700)) // a creation's very first step
	g = w.run()
	w.eventually("all is as it should be", func() bool {
		all, err := w.client.List(t.Context())
		return err == nil && len(all) == 2 && w.get("halted").State == "exited" && w.get("asked").State == "running"
	})
	for _, name := range []string{"unmade", "gone"} {
		if engine.get(ids[name]) != nil {
			t.Errorf("%s is left in the engine", name)
		}
		for _, dir := range []string{g.home.SandboxDir(ids[name]), filepath.Join(g.home.Shares, ids[name])} {
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("%s is left", dir)
			}
		}
	}
	if _, err := os.Stat(g.home.SandboxDir("emptyemptyem")); !os.IsNotExist(err) {
		t.Error("an empty directory is left")
	}
}

// TestUndelivered: a failed publish is shown, retried, and recovers by itself. A publish into
// a directory that the sandbox does not have mounted counts as failed.
func TestUndelivered(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	w.start("one")
	aside := s.Share + ".aside"
	w.must(os.Rename(s.Share, aside))
	if _, err := w.client.Tokens.Rotate(t.Context(), "one"); err == nil {
		t.Fatal("a publish without a directory succeeded")
	}
	if v := w.get("one"); v.Token.Failures != 1 || v.Token.LastError == "" || v.Token.Renewals != 2 {
		t.Errorf("with the directory gone: %+v", v.Token)
	}
	if status, err := w.client.Status(t.Context()); err != nil || status.Failing != 1 || status.Running != 1 {
		t.Errorf("status %+v, %v", status, err)
	}
	w.must(os.Mkdir(s.Share, 0o755)) // another inode in its place
	_, err := w.client.Tokens.Rotate(t.Context(), "one")
	if err == nil || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("into a directory that is not mounted: %v", err)
	}
	w.must(os.RemoveAll(s.Share))
	w.must(os.Rename(aside, s.Share))
	w.eventually("it recovers by itself", func() bool { return w.get("one").Token.Failures == 0 })
	tokenOf(t, g, s.Share)
}

// TestLostShareGetsHigherNumbers: a share on tmpfs is gone after a reboot. The new one's
// generation numbers are higher than all that were used before.
func TestLostShareGetsHigherNumbers(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	before := w.start("one").Token.Generation
	w.stop()
	engine.end(s.ID, 137)
	w.must(os.RemoveAll(filepath.Dir(s.Share)))
	g := w.run()
	w.eventually("it is resumed", func() bool { return w.get("one").State == "running" })
	if generation, _ := tokenOf(t, g, s.Share); generation <= before+900 {
		t.Errorf("generation %d before the loss, %d after", before, generation)
	}
	record, err := g.home.Load(s.ID)
	if err != nil || record.GenerationLimit < 1001 {
		t.Errorf("the record allows generations up to %d, %v", record.GenerationLimit, err)
	}
}

// TestRenewalLeavesRecordAlone: a renewal writes the record only to raise the limit of
// generation numbers.
func TestRenewalLeavesRecordAlone(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	_, err := g.byID(s.ID).Lease.Share().Publish(t.Context(), 990, func(uint64) ([]share.File, error) {
		return []share.File{{Name: contract.TokenName, Data: []byte("x")}}, nil
	})
	w.must(err)
	before, err := os.Stat(g.home.RecordPath(s.ID))
	w.must(err)
	writes := 0
	for range 20 {
		if _, err := w.client.Tokens.Rotate(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		now, err := os.Stat(g.home.RecordPath(s.ID))
		w.must(err)
		if !os.SameFile(before, now) {
			writes++
			before = now
		}
	}
	if generation, _ := tokenOf(t, g, s.Share); writes != 1 || generation != 1010 {
		t.Errorf("%d writes of the record until generation %d, 1 is wanted", writes, generation)
	}
}

// TestFreshBeforeEnginesAnswer: the gateway was down for longer than the tokens
// live. All shares are fresh at once, while an engine hangs.
func TestFreshBeforeEnginesAnswer(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	var shares []string
	for i := range 20 {
		shares = append(shares, w.create(api.CreateRequest{Name: fmt.Sprint("n", i), TTL: 16 * time.Second}).Share)
	}
	first := w.gateway
	w.stop()
	for _, s := range first.all() {
		expire(t, first, s)
	}
	engine.hangList = make(chan struct{})
	defer close(engine.hangList)
	g := w.open()
	w.ended = make(chan error, 1)
	go func() { w.ended <- g.Run(context.Background()) }()
	w.eventually("all are fresh", func() bool { return renewed(g) == len(shares) })
	for _, dir := range shares {
		tokenOf(t, g, dir)
	}
	w.eventually("it serves all the same", func() bool {
		client, err := api.Connect(t.Context())
		w.client = client
		return err == nil
	})
}

func renewed(g *Gateway) (n int) {
	for _, s := range g.all() {
		if token(s).Renewals > 0 {
			n++
		}
	}
	return n
}
