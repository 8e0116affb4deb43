package gateway

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
)

// TestStartFindsFreshToken: when the driver's Start is called, the token in the share
// verifies, whatever happened before.
func TestStartFindsFreshToken(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	if s.State != "created" || s.Desired != state.WantStopped || s.TTL != time.Hour {
		t.Errorf("after create: %+v", s)
	}
	first, _ := tokenOf(t, g, s.Share)

	var atStart uint64
	engine.onStart = func(spec drivers.Spec) { atStart, _ = tokenOf(t, g, spec.Auth.Source()) }
	started := w.start("one")
	if atStart <= first || started.State != "running" || started.Token.Generation != atStart {
		t.Errorf("generation %d at create, %d at start; %+v", first, atStart, started)
	}
	w.start("one") // it runs: nothing happens
	if n := engine.count("start " + s.ID); n != 1 {
		t.Errorf("%d starts, 1 is wanted", n)
	}
	stopped, err := w.client.Stop(t.Context(), "one", time.Second)
	if err != nil || stopped.State != "exited" || *stopped.ExitCode != 143 || stopped.Desired != state.WantStopped {
		t.Errorf("after stop: %v, %+v", err, stopped)
	}
	before := atStart
	if w.start("one"); atStart <= before {
		t.Errorf("generation %d at the first start, %d at the second", before, atStart)
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	w.create(api.CreateRequest{Name: "taken"})
	file := filepath.Join(w.dir, "file")
	w.must(os.WriteFile(file, nil, 0o600))
	mount := func(source, target string) api.CreateRequest {
		return api.CreateRequest{Driver: "fake", Mounts: []api.Mount{{Source: source, Target: target}}}
	}
	for _, c := range []struct {
		what       string
		fail       string
		q          api.CreateRequest
		code, says string
	}{
		{"name taken", "", api.CreateRequest{Driver: "fake", Name: "taken"}, api.CodeConflict, "taken"},
		{"name malformed", "", api.CreateRequest{Driver: "fake", Name: "../x"}, api.CodeInvalid, "../x"},
		{"TTL too short", "", api.CreateRequest{Driver: "fake", TTL: 15 * time.Second}, api.CodeInvalid, "16s"},
		{"driver unknown", "", api.CreateRequest{Driver: "vmware"}, api.CodeInvalid, "vmware"},
		{"hypervisor unknown", "", api.CreateRequest{Driver: "fake", Hypervisor: "xen"}, api.CodeInvalid, "xen"},
		{"rootfs and image", "", api.CreateRequest{Driver: "fake", Rootfs: "/", Image: "x"}, api.CodeInvalid, "both"},
		{"rootfs missing", "", api.CreateRequest{Driver: "fake", Rootfs: "/no/such/dir"}, api.CodeInvalid, "/no/such/dir"},
		{"rootfs a file", "", api.CreateRequest{Driver: "fake", Rootfs: file}, api.CodeInvalid, "not a directory"},
		{"rootfs exposes state", "", api.CreateRequest{Driver: "fake", Rootfs: g.home.State}, api.CodeInvalid, g.home.State},
		{"mount exposes keys", "", mount(g.home.Keys(), "/k"), api.CodeInvalid, "keys"},
		{"mount exposes sockets", "", mount(g.home.Runtime, "/r"), api.CodeInvalid, g.home.Runtime},
		{"mount over proc", "", mount(w.dir, "/proc/x"), api.CodeInvalid, "/proc"},
		{"environment malformed", "", api.CreateRequest{Driver: "fake", Process: api.Process{Env: []string{"=x"}}}, api.CodeInvalid, "=x"},
		{"negative memory", "", api.CreateRequest{Driver: "fake", Memory: -1}, api.CodeInvalid, "negative"},
		{"driver refuses", "resolve", api.CreateRequest{Driver: "fake"}, api.CodeInvalid, "on purpose"},
		{"engine fails", "create", api.CreateRequest{Driver: "fake"}, api.CodeInternal, "on purpose"},
	} {
		t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
			if c.fail != "" {
				engine.failing(c.fail, errors.New("failed\non purpose"))
				defer engine.failing(c.fail, nil)
			}
			says := strings.ReplaceAll(c.says, "on purpose", "failed; on purpose")
			_, err := w.client.Create(t.Context(), c.q)
			refused(t, err, c.code, says)
		})
	}
	for _, dir := range []string{g.home.Sandboxes(), g.home.Shares} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s holds %v, only one entry is wanted (%v)", dir, entries, err)
		}
	}
	if all, err := w.client.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d sandboxes are left, %v", len(all), err)
	}
}

func TestWarnsOfShortTTL(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	if s := w.create(api.CreateRequest{TTL: 5 * time.Minute}); len(s.Warnings) != 1 {
		t.Errorf("warnings %q for a TTL of 5 minutes, one is wanted", s.Warnings)
	}
	if s := w.create(api.CreateRequest{}); len(s.Warnings) != 0 || s.Name == "" {
		t.Errorf("warnings %q, name %q for the default", s.Warnings, s.Name)
	}
}

func TestFailedStartIsNotTriedAgain(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	engine.failing("start", &drivers.Error{Op: "start the VM", Err: errors.New("no KVM and no QEMU"), Hint: "install QEMU"})
	_, err := w.client.Start(t.Context(), "one")
	refused(t, err, api.CodeDriver, "no KVM")
	if s := w.get("one"); s.Desired != state.WantStopped || s.State != "created" {
		t.Errorf("after a failed start: %s, desired %s", s.State, s.Desired)
	}
	if n := engine.count("start " + s.ID); n != 1 {
		t.Errorf("%d starts", n)
	}
}

func TestRemove(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	w.start("one")
	refused(t, w.client.Remove(t.Context(), "one", false), api.CodeConflict, "running")
	w.must(w.client.Remove(t.Context(), s.ID[:6], true))
	refused(t, w.client.Remove(t.Context(), "one", true), api.CodeNotFound, "one")
	for _, path := range []string{g.home.SandboxDir(s.ID), filepath.Dir(s.Share)} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	w.create(api.CreateRequest{Name: "one"}) // the name is free
}

// TestRemovedWithItsEnd: --rm removes a sandbox that ends by itself.
func TestRemovedWithItsEnd(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	s := w.create(api.CreateRequest{Name: "one", AutoRemove: true})
	w.start("one")
	waited := make(chan api.WaitResult, 1)
	go func() {
		result, err := w.client.Wait(t.Context(), "one")
		if err != nil {
			t.Error(err)
		}
		waited <- result
	}()
	w.eventually("somebody waits", func() bool {
		return w.gateway.census.Count(time.Now()).Needing > 0 && engine.count("inspect "+s.ID) > 2
	})
	engine.end(s.ID, 7)
	if result := <-waited; result.ExitCode != 7 {
		t.Errorf("exit code %d, 7 is wanted", result.ExitCode)
	}
	w.eventually("it is removed", func() bool {
		all, err := w.client.List(t.Context())
		return err == nil && len(all) == 0
	})
}

func TestVerifyAsksWhetherTheSandboxExists(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	raw, err := os.ReadFile(filepath.Join(s.Share, contract.TokenName))
	w.must(err)
	verify := func() api.VerifyResult {
		result, err := w.client.Tokens.Verify(t.Context(), api.VerifyRequest{Token: string(raw)})
		w.must(err)
		return result
	}
	if r := verify(); !r.Valid || r.SandboxID != s.ID || r.Generation != s.Token.Generation {
		t.Errorf("before the removal: %+v", r)
	}
	w.must(w.client.Remove(t.Context(), "one", false))
	if r := verify(); r.Valid || !strings.Contains(r.Problem, "no longer exists") {
		t.Errorf("after the removal: %+v", r)
	}
	for _, part := range strings.Split(string(raw), ".") {
		if strings.Contains(w.log.String(), part) && len(part) > 40 {
			t.Error("a part of the token stands in the log")
		}
	}
}

func TestRotate(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	token, err := w.client.Tokens.Rotate(t.Context(), "one")
	generation, _ := tokenOf(t, g, s.Share)
	if err != nil || token.Generation != generation || generation != s.Token.Generation+1 {
		t.Errorf("generation %d, then %d (on disk %d), %v", s.Token.Generation, token.Generation, generation, err)
	}
}

// If auto chose an engine only because no VM can be used, its refusal says so.
func TestNoImageForWantOfVM(t *testing.T) {
	vmEngine, podman := newFake("vm"), &pullingFake{fake: newFake("podman")}
	podman.failing("resolve", &drivers.Error{Err: drivers.ErrNoImage, Hint: "give --image REF"})
	w := newWorld(t, vmEngine, podman)
	w.run()
	vmEngine.failing("probe", errors.New("no QEMU is installed"))
	for _, c := range []struct{ driver, says, tip string }{
		{"auto", "a VM can't be used here: no QEMU is installed; podman was taken, which needs an image",
			"give --image REF; for a VM, openshell-vm doctor says what is missing"},
		{"podman", "no image is given", "give --image REF"},
	} {
		_, err := w.client.Create(t.Context(), api.CreateRequest{Name: "box", Driver: c.driver})
		refused(t, err, api.CodeInvalid, c.says)
		if e, ok := err.(*api.Error); !ok || e.Message != c.says || e.Hint != c.tip {
			t.Errorf("--driver %s: %+v", c.driver, err)
		}
	}
}
