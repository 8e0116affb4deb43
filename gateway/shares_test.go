package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

func (w *world) share(q api.ShareRequest) api.Share {
	w.Helper()
	s, err := w.client.Shares.Create(w.Context(), q)
	w.must(err)
	return s
}

// TestShareOfOnesOwn: a share of the user's own works without any engine.
func TestShareOfOnesOwn(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	s := w.share(api.ShareRequest{Name: "agent", TTL: 20 * time.Second})
	if s.Driver != "" || len(s.Warnings) != 1 || s.Target != "/etc/openshell/auth" || len(s.Env) != 2 {
		t.Errorf("the share is %+v", s)
	}
	if want := filepath.Join(g.home.State, "named/agent/auth"); s.Dir != want {
		t.Errorf("it lies in %s, not where it can be found by name: %s", s.Dir, want)
	}
	generation, expires := tokenOf(t, g, s.Dir)
	if generation != 1 || time.Until(expires) > 20*time.Second {
		t.Errorf("generation %d, expires %v", generation, expires)
	}

	for name, q := range map[string]api.ShareRequest{
		"as it is":        {Name: "agent"},
		"the same":        {Name: "agent", TTL: 20 * time.Second},
		"ignored":         {Name: "agent", Ignore: true},
		"another ignored": {Name: "agent", Ignore: true, TTL: time.Hour},
	} {
		if again := w.share(q); again.ID != s.ID || again.Token.Generation != 1 || again.Warnings != nil || again.TTL != s.TTL {
			t.Errorf("%s: found again as %+v", name, again)
		}
	}
	_, err := w.client.Shares.Create(t.Context(), api.ShareRequest{Name: "agent", TTL: time.Hour})
	refused(t, err, api.CodeConflict, `the share "agent" has a token lifetime of 20s, not 1h`)
	token, err := w.client.Tokens.Rotate(t.Context(), "agent")
	w.must(err)
	if now, _ := tokenOf(t, g, s.Dir); token.Generation != 2 || now != 2 {
		t.Errorf("rotated to generation %d, the share holds %d", token.Generation, now)
	}

	list, err := w.client.Shares.List(t.Context())
	w.must(err)
	sandboxes, err := w.client.List(t.Context())
	w.must(err)
	status, err := w.client.Status(t.Context())
	w.must(err)
	if len(list) != 1 || list[0].Token.Generation != 2 || len(sandboxes) != 0 || status.Sandboxes != 0 || status.Shares != 1 {
		t.Errorf("listed: %+v, sandboxes %+v, status %+v", list, sandboxes, status)
	}
	g.opts.IdleAfter = time.Millisecond
	if g.idle(time.Now().Add(time.Hour)) {
		t.Error("the gateway ends while a share is to be renewed")
	}

	w.must(w.client.Shares.Remove(t.Context(), "agent", false))
	if _, err := os.Stat(filepath.Dir(s.Dir)); !os.IsNotExist(err) {
		t.Errorf("the share's directory is left: %v", err)
	}
	_, err = w.client.Shares.Get(t.Context(), "agent")
	refused(t, err, api.CodeNotFound, `"agent"`)
}

// TestShareIsNoSandbox: whatever only a sandbox can do is refused.
func TestShareIsNoSandbox(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	w.share(api.ShareRequest{Name: "agent"})
	box := w.create(api.CreateRequest{Name: "box"})
	c, ctx := w.client, t.Context()
	for what, do := range map[string]func() error{
		"get":    func() error { _, err := c.Get(ctx, "agent"); return err },
		"start":  func() error { _, err := c.Start(ctx, "agent"); return err },
		"stop":   func() error { _, err := c.Stop(ctx, "agent", 0); return err },
		"signal": func() error { return c.Signal(ctx, "agent", 15) },
		"wait":   func() error { _, err := c.Wait(ctx, "agent"); return err },
		"remove": func() error { return c.Remove(ctx, "agent", true) },
		"logs":   func() error { return c.Logs(ctx, "agent", false, nil, nil) },
		"attach": func() error { _, err := c.Attach(ctx, "agent", false, api.Streams{}, nil); return err },
		"exec":   func() error { _, err := c.Exec(ctx, "agent", api.ExecRequest{}, api.Streams{}); return err },
	} {
		t.Run(what, func(t *testing.T) { refused(t, do(), api.CodeInvalid, "a share for a container of your own") })
	}
	refused(t, c.Shares.Remove(ctx, "box", false), api.CodeConflict, "belongs to sandbox box")
	if s, err := c.Shares.Get(ctx, "box"); err != nil || s.Driver != "fake" || s.Dir != box.Share {
		t.Errorf("the sandbox's share: %+v, %v", s, err)
	}
}

// If a share does not exist, the error speaks of shares, not of sandboxes.
func TestNoSuchShare(t *testing.T) {
	w := newWorld(t)
	w.run()
	c, ctx := w.client, t.Context()
	for what, do := range map[string]func() error{
		"inspect": func() error { _, err := c.Shares.Get(ctx, "nosuch"); return err },
		"remove":  func() error { return c.Shares.Remove(ctx, "nosuch", false) },
		"put": func() error {
			_, err := c.Shares.Put(ctx, "nosuch", api.FilesRequest{Remove: []string{"a"}})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			err := do()
			refused(t, err, api.CodeNotFound, `there is no share "nosuch"`)
			if e, ok := err.(*api.Error); !ok || e.Hint != "openshell-vm share ls lists all" {
				t.Errorf("the hint is of %+v", err)
			}
		})
	}
}

func TestShareRefusals(t *testing.T) {
	w := newWorld(t)
	w.run()
	for name, q := range map[string]api.ShareRequest{
		"no name":      {},
		"a path":       {Name: "../agent"},
		"a blank":      {Name: "a b"},
		"too short":    {Name: "agent", TTL: time.Second},
		"without end":  {Name: "agent", TTL: -1},
		"292 years":    {Name: "agent", TTL: 1<<63 - 1},
		"hidden":       {Name: ".agent"},
		"shell syntax": {Name: "$(id)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.client.Shares.Create(t.Context(), q)
			refused(t, err, api.CodeInvalid, "")
		})
	}
}

// TestShareOutlivesGateway: a share's token that expired while no gateway ran is
// fresh again once one does, in the directory that a container may have mounted.
func TestShareOutlivesGateway(t *testing.T) {
	w := newWorld(t)
	w.run()
	s := w.share(api.ShareRequest{Name: "agent", TTL: time.Hour})
	w.put("agent", map[string]string{"agent.yaml": "a: 1"})
	before, err := state.InodeOf(s.Dir)
	w.must(err)
	w.stop()

	// What is in the share has expired, as after a long time without a gateway.
	g := w.open()
	publishRaw(t, g.byID(s.ID), []byte("expired"), []byte("{}"))
	g.home.Close()
	g = w.run()
	w.eventually("the share is fresh", func() bool { return w.shareOf("agent").Token.Renewals > 0 })
	generation, _ := tokenOf(t, g, s.Dir)
	after, err := state.InodeOf(s.Dir)
	w.must(err)
	if generation != 4 || after != before {
		t.Errorf("generation %d in %+v, before %+v", generation, after, before)
	}
	if data, err := os.ReadFile(filepath.Join(s.Dir, "agent.yaml")); string(data) != "a: 1" {
		t.Errorf("agent.yaml is %q, %v", data, err)
	}
}

func (w *world) shareOf(ref string) api.Share {
	w.Helper()
	s, err := w.client.Shares.Get(w.Context(), ref)
	w.must(err)
	return s
}

// TestIgnoreFreshens: creating an existing share delivers a fresh token, even if its renewal
// is waiting for a retry.
func TestIgnoreFreshens(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	s := w.share(api.ShareRequest{Name: "agent"})
	publishRaw(t, g.byID(s.ID), []byte("expired"), []byte("{}"))
	w.share(api.ShareRequest{Name: "agent", Ignore: true})
	if generation, _ := tokenOf(t, g, s.Dir); generation != 3 {
		t.Errorf("generation %d", generation)
	}
}

// TestShareFailureIsShown: a failed publish is shown. The share recovers by itself when the
// cause is gone.
func TestShareFailureIsShown(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	s := w.share(api.ShareRequest{Name: "agent"})
	mend := w.breakShare(s)
	_, err := w.client.Tokens.Rotate(t.Context(), "agent")
	if err == nil || w.shareOf("agent").Token.Failures != 1 || g.census.Count(time.Now()).Failing != 1 {
		t.Errorf("rotated into nothing: %v", err)
	}
	mend()
	w.eventually("it recovers", func() bool { return w.shareOf("agent").Token.Failures == 0 })
	if generation, _ := tokenOf(t, g, s.Dir); generation != 2 {
		t.Errorf("generation %d", generation)
	}
}

// TestHalfMadeShareIsTakenBack: what a killed creation or removal left is removed.
func TestHalfMadeShareIsTakenBack(t *testing.T) {
	for name, left := range map[string]func(*state.Record){
		"creation": func(r *state.Record) { r.Made = false },
		"removal":  func(r *state.Record) { r.Want(state.WantGone) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := w.run()
			s := w.share(api.ShareRequest{Name: "agent"})
			w.must(g.byID(s.ID).Update(left))
			w.stop()
			g = w.run()
			w.eventually("it is gone", func() bool { return g.byID(s.ID) == nil })
			if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
				t.Errorf("its directory: %v", err)
			}
			w.share(api.ShareRequest{Name: "agent"})
		})
	}
}

func (w *world) put(ref string, files map[string]string, remove ...string) api.Share {
	w.Helper()
	s, err := w.client.Shares.Put(w.Context(), ref, filesOf(files, remove...))
	w.must(err)
	return s
}

func filesOf(files map[string]string, remove ...string) api.FilesRequest {
	q := api.FilesRequest{Files: map[string][]byte{}, Remove: remove}
	for name, text := range files {
		q.Files[name] = []byte(text)
	}
	return q
}

// TestFiles are published with the token, in one generation, for shares of the
// user's own and for sandboxes' alike.
func TestFiles(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	w.share(api.ShareRequest{Name: "agent"})
	w.create(api.CreateRequest{Name: "box"})
	for _, ref := range []string{"agent", "box"} {
		w.put(ref, map[string]string{"a.yaml": "a", "b": ""})
		s := w.put(ref, map[string]string{"a.yaml": "changed"}, "b")
		content, err := share.Read(s.Dir)
		w.must(err)
		if len(content.Files) != 3 || string(content.Files["a.yaml"]) != "changed" || content.Generation != s.Token.Generation || s.Token.Generation != 3 {
			t.Errorf("%s: generation %d of %v", ref, content.Generation, s.Files)
		}
		_, err = w.client.Tokens.Rotate(t.Context(), ref)
		w.must(err)
		if data, err := os.ReadFile(filepath.Join(s.Dir, "a.yaml")); string(data) != "changed" {
			t.Errorf("%s: after a renewal it is %q, %v", ref, data, err)
		}
	}
}

// TestFilesInDirectories: a name may have directories, and a file may become one.
func TestFilesInDirectories(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	w.create(api.CreateRequest{Name: "box"})
	w.put("box", map[string]string{"aws/config": "1", "aws/credentials": "2", "x": "3"})
	_, err := w.client.Shares.Put(t.Context(), "box", filesOf(map[string]string{"aws": ""}))
	refused(t, err, api.CodeInvalid, `"aws" can't be used: the share has aws/`)
	_, err = w.client.Shares.Put(t.Context(), "box", filesOf(map[string]string{"x/y": ""}))
	refused(t, err, api.CodeInvalid, `"x/y" can't be used: the share has x`)
	s := w.put("box", map[string]string{"aws": "4", "x/y": "5"}, "aws/config", "aws/credentials", "x")
	content, err := share.Read(s.Dir)
	w.must(err)
	if len(content.Files) != 4 || string(content.Files["aws"]) != "4" || string(content.Files["x/y"]) != "5" {
		t.Errorf("%v", content.Files)
	}
}

func TestFileRefusals(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.share(api.ShareRequest{Name: "agent"})
	many := map[string]string{}
	for i := range api.MaxFiles + 1 {
		many[strings.Repeat("x", i+1)] = ""
	}
	for name, q := range map[string]api.FilesRequest{
		"the token":    filesOf(map[string]string{"sandbox.jwt": "mine"}),
		"its metadata": filesOf(map[string]string{"metadata.json": "{}"}),
		"a path":       filesOf(map[string]string{"../x": ""}),
		"below it":     filesOf(map[string]string{"sandbox.jwt/x": ""}),
		"clash":        filesOf(map[string]string{"d": "", "d/e": ""}),
		"reserved":     filesOf(map[string]string{"..data": ""}),
		"empty":        filesOf(map[string]string{"": ""}),
		"too long":     filesOf(map[string]string{strings.Repeat("x", 256): ""}),
		"too many":     filesOf(many),
		"too large":    {Files: map[string][]byte{"x": bytes.Repeat([]byte("x"), api.MaxFilesSize+1)}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.client.Shares.Put(t.Context(), "agent", q)
			refused(t, err, api.CodeInvalid, "")
		})
	}
	_, err := w.client.Shares.Put(t.Context(), "agent", filesOf(nil, "nope"))
	refused(t, err, api.CodeNotFound, `no file "nope"`)
	if s := w.shareOf("agent"); len(s.Files) != 0 || s.Token.Generation != 1 {
		t.Errorf("a refusal changed the share: %+v", s)
	}
	w.put("agent", map[string]string{"x": strings.Repeat("x", api.MaxFilesSize)})
}

// TestFilesReachTheShareLater: if only the publish of new files fails, the next successful
// renewal publishes them.
func TestFilesReachTheShareLater(t *testing.T) {
	w := newWorld(t)
	w.run()
	s := w.share(api.ShareRequest{Name: "agent"})
	mend := w.breakShare(s)
	_, err := w.client.Shares.Put(t.Context(), "agent", filesOf(map[string]string{"x": "1"}))
	if e := (*api.Error)(nil); !errors.As(err, &e) {
		t.Fatalf("published into nothing: %v", err)
	}
	mend()
	w.eventually("the file is there", func() bool {
		data, _ := os.ReadFile(filepath.Join(s.Dir, "x"))
		return string(data) == "1"
	})
}

// TestShareVerifies: a share's token verifies like a sandbox's, until the share is removed.
func TestShareVerifies(t *testing.T) {
	w := newWorld(t)
	w.run()
	s := w.share(api.ShareRequest{Name: "agent"})
	token, err := os.ReadFile(filepath.Join(s.Dir, contract.TokenName))
	w.must(err)
	verify := func() bool {
		r, err := w.client.Tokens.Verify(context.Background(), api.VerifyRequest{Token: string(token)})
		w.must(err)
		return r.Valid
	}
	if !verify() {
		t.Error("the share's token is refused")
	}
	w.must(w.client.Shares.Remove(t.Context(), "agent", false))
	if verify() {
		t.Error("the token of a removed share is good")
	}
}

// breakShare puts something into the place of the share's directory.
func (w *world) breakShare(s api.Share) (mend func()) {
	w.Helper()
	dir := filepath.Dir(s.Dir)
	w.must(os.Rename(dir, dir+".away"))
	w.must(os.WriteFile(dir, nil, 0o600))
	return func() {
		w.Helper()
		w.must(os.Remove(dir))
		w.must(os.Rename(dir+".away", dir))
	}
}

// TestLostShareComesBack: if the directory of a share of the user's own is gone, the next
// renewal or command makes it anew, with its files. A warning says so, because containers
// that have the old directory mounted do not see the new one.
func TestLostShareComesBack(t *testing.T) {
	for lost, path := range map[string]func(s api.Share) string{
		"auth":  func(s api.Share) string { return s.Dir },
		"all":   func(s api.Share) string { return filepath.Dir(s.Dir) },
		"named": func(s api.Share) string { return filepath.Dir(filepath.Dir(s.Dir)) },
	} {
		for by, back := range map[string]func(w *world){
			"create":  func(w *world) { w.share(api.ShareRequest{Name: "agent"}) },
			"ignore":  func(w *world) { w.share(api.ShareRequest{Name: "agent", Ignore: true}) },
			"renewal": func(w *world) { _ = w.gateway.byID(w.shareOf("agent").ID).Deliver(w.Context(), nil) },
			"rotate":  func(w *world) { _, err := w.client.Tokens.Rotate(w.Context(), "agent"); w.must(err) },
			"put":     func(w *world) { w.put("agent", map[string]string{"y": "2"}) },
			"restart": func(w *world) { w.stop(); w.run() },
		} {
			t.Run(lost+"/"+by, func(t *testing.T) {
				w := newWorld(t)
				w.run()
				s := w.share(api.ShareRequest{Name: "agent", TTL: time.Hour})
				w.put("agent", map[string]string{"x": "1"})
				w.must(os.RemoveAll(path(s)))
				back(w)
				w.eventually("it is back", func() bool { return w.shareOf("agent").Token.Renewals > 0 && !os.IsNotExist(lstat(s.Dir)) })
				if generation, _ := tokenOf(t, w.gateway, s.Dir); generation < 3 {
					t.Errorf("generation %d was used before", generation)
				}
				if data, err := os.ReadFile(filepath.Join(s.Dir, "x")); string(data) != "1" {
					t.Errorf("its file reads %q, %v", data, err)
				}
				if now := w.shareOf("agent"); now.Token.Failures != 0 || !strings.Contains(strings.Join(now.Warnings, "\n"), "was gone") {
					t.Errorf("it does not say so: %+v", now)
				}
			})
		}
	}
}

// If the whole state directory is gone, the share is not made anew.
func TestLostStateIsNotMade(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	s := w.share(api.ShareRequest{Name: "agent"})
	w.must(os.Rename(g.home.State, g.home.State+".away"))
	if err := g.byID(s.ID).Deliver(t.Context(), nil); err == nil {
		t.Error("delivered into nothing")
	}
	if _, err := os.Stat(g.home.State); !os.IsNotExist(err) {
		t.Errorf("the state directory: %v", err)
	}
	w.must(os.Rename(g.home.State+".away", g.home.State))
}

// TestCreateShareAtOnce: many creations of one name run at once. One makes the share, and all
// others find it.
func TestCreateShareAtOnce(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	for round := range 20 {
		name := fmt.Sprint("agent", round)
		var made atomic.Int64
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				_, created, err := g.shares.Create(t.Context(), api.ShareRequest{Name: name})
				if err != nil {
					t.Error(err)
				}
				if created {
					made.Add(1)
				}
			})
		}
		all.Wait()
		if n := made.Load(); n != 1 {
			t.Errorf("%s was made %d times", name, n)
		}
	}
}

// TestShareTurmoil: many operations on one name run at once. Each answer is one that the user
// can understand.
func TestShareTurmoil(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	ctx := t.Context()
	var all sync.WaitGroup
	var late atomic.Int64
	for range 2 {
		for what, do := range map[string]func() error{
			"create": func() error { _, err := w.client.Shares.Create(ctx, api.ShareRequest{Name: "agent"}); return err },
			"remove": func() error { return w.client.Shares.Remove(ctx, "agent", false) },
			"put": func() error {
				_, err := w.client.Shares.Put(ctx, "agent", filesOf(map[string]string{"x": "1"}))
				return err
			},
			"rotate":  func() error { _, err := w.client.Tokens.Rotate(ctx, "agent"); return err },
			"inspect": func() error { _, err := w.client.Shares.Get(ctx, "agent"); return err },
			"list":    func() error { _, err := w.client.Shares.List(ctx); return err },
		} {
			all.Go(func() {
				for range 300 {
					err := do()
					if err != nil && strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
						late.Add(1) // the disk is busy: publishDeadline has ended the wait for the others
						continue
					}
					if e := (*api.Error)(nil); err != nil && (!errors.As(err, &e) || e.Code != api.CodeNotFound && e.Code != api.CodeConflict) {
						t.Errorf("%s: %v", what, err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	if n := late.Load(); n > 100 {
		t.Errorf("%d of 3600 waited too long", n)
	}
	_ = w.client.Shares.Remove(ctx, "agent", false)
	if left, _ := os.ReadDir(filepath.Dir(g.home.NamedShare("x"))); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func lstat(path string) error {
	_, err := os.Lstat(path)
	return err
}

// TestPlaceOfAShareIsTaken: an engine made the directory that it was told to mount. That is
// said, and nothing is left of the try.
func TestPlaceOfAShareIsTaken(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	place := g.home.NamedShare("agent")
	w.must(os.Mkdir(filepath.Dir(place), 0o700))
	w.must(os.MkdirAll(filepath.Join(place, "auth"), 0o755))
	for range 2 {
		_, err := w.client.Shares.Create(t.Context(), api.ShareRequest{Name: "agent"})
		refused(t, err, api.CodeDriver, "something else is in its place")
	}
	w.must(os.RemoveAll(place))
	w.share(api.ShareRequest{Name: "agent"})
}
