package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
	"openshell-vm/tokens"
)

// What needs an engine that works is tested in package gateway, by the API.

// probedDriver can be probed, and has one sandbox at most.
type probedDriver struct {
	drivers.Driver
	name   string
	broken bool
	has    drivers.Status
}

func (d *probedDriver) Name() string { return d.name }

func (d *probedDriver) Probe(context.Context) drivers.Info {
	if d.broken {
		return drivers.Info{Problem: "broken"}
	}
	return drivers.Info{Usable: true}
}

func (d *probedDriver) Inspect(_ context.Context, id string) (drivers.Status, error) {
	if d.has.ID != id {
		return drivers.Status{}, drivers.ErrNotFound
	}
	return d.has, nil
}

// pullingDriver takes images.
type pullingDriver struct{ probedDriver }

func (d *pullingDriver) Pull(context.Context, string, drivers.PullPolicy, func(drivers.PullProgress)) error {
	return nil
}

// stockedDriver takes images, and has a root of its own.
type stockedDriver struct{ pullingDriver }

func (d *stockedDriver) Stock(context.Context) (map[string]string, error) { return nil, nil }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newFleet makes a fleet with a fresh state directory. Run is not called.
func newFleet(t *testing.T, all ...drivers.Driver) *Fleet {
	t.Helper()
	dir := t.TempDir()
	t.Setenv(api.EnvStateDir, filepath.Join(dir, "state"))
	t.Setenv(api.EnvRuntimeDir, filepath.Join(dir, "run"))
	home, err := state.Open()
	must(t, err)
	t.Cleanup(home.Close)
	keys, err := tokens.OpenKeys(home.Keys())
	must(t, err)
	r := roster.New(home, lease.Options{Keys: keys, Log: slog.New(slog.DiscardHandler)}, func() {})
	return New(r, Options{Drivers: all})
}

func TestChoose(t *testing.T) {
	vmEngine, podman := &stockedDriver{}, &pullingDriver{probedDriver: probedDriver{name: "podman"}}
	vmEngine.name = "vm"
	for _, c := range []struct {
		q      api.CreateRequest
		broken string
		want   string
	}{
		{api.CreateRequest{}, "", "vm"},
		{api.CreateRequest{}, "vm", "podman"},
		{api.CreateRequest{Image: "x"}, "", "vm"},
		{api.CreateRequest{Image: "x"}, "vm", "podman"},
		{api.CreateRequest{Rootfs: "/x"}, "vm", "refused: no driver can be used here; vm: broken"},
		{api.CreateRequest{Hypervisor: "krun"}, "vm", "refused: no driver can be used here; vm: broken"},
		{api.CreateRequest{RequireJail: true}, "vm", "refused: no driver can be used here; vm: broken"},
		{api.CreateRequest{RequireJail: true, Image: "x"}, "", "vm"},
		{api.CreateRequest{RequireJail: true, Image: "x"}, "vm", "refused: no driver can be used here; vm: broken"},
		{api.CreateRequest{Driver: "podman"}, "", "podman"},
		{api.CreateRequest{Driver: "auto"}, "", "vm"},
	} {
		f := newFleet(t, vmEngine, podman)
		for _, e := range []*probedDriver{&vmEngine.probedDriver, &podman.probedDriver} {
			e.broken = e.name == c.broken
		}
		got := ""
		if d, err := f.choose(t.Context(), c.q); err != nil {
			got = "refused: " + err.Error()
		} else {
			got = d.Name()
		}
		if got != c.want {
			t.Errorf("%+v with %q broken: %s, wanted %s", c.q, c.broken, got, c.want)
		}
	}
}

// A sandbox that does not mount a share of this gateway is not adopted.
func TestNotAdopted(t *testing.T) {
	engine := &probedDriver{name: "fake"}
	f := newFleet(t, engine)
	for name, source := range map[string]string{
		"elsewhere":           "/etc/auth",
		"another sandbox's":   filepath.Join(f.home.Shares, "ffffffffffff", "auth"),
		"above the directory": f.home.Shares,
	} {
		auth, err := drivers.NewMount(source, drivers.AuthDir)
		must(t, err)
		engine.has = drivers.Status{ID: "0123456789ab", State: drivers.Running, Spec: &drivers.Spec{ID: "0123456789ab", Auth: auth}}
		f.adopt(t.Context(), engine, engine.has)
		if f.get("0123456789ab") != nil {
			t.Errorf("%s: it was taken in", name)
		}
	}
	if _, err := os.Stat(f.home.SandboxDir("0123456789ab")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it has a record: %v", err)
	}
}

// TestLoseAsksAgain: before a missing sandbox loses its share, the engine is asked once more.
// If it has the sandbox, the share stays.
func TestLoseAsksAgain(t *testing.T) {
	engine := &probedDriver{name: "fake"}
	f := newFleet(t, engine)
	id := "0123456789ab"
	r := &state.Record{Version: state.Version, ID: id, Name: "one", Driver: "fake", Share: filepath.Join(f.home.Shares, id), Made: true, Desired: state.WantRunning}
	must(t, f.home.MakeSandboxDir(id))
	must(t, f.home.Save(r))
	must(t, f.roster.MakeShare(r))
	must(t, f.Known(r))
	s := f.get(id)
	converge := func() {
		t.Helper()
		s.converge(t.Context(), drivers.Status{}, false, true, time.Now())
		must(t, s.Op.Lock(t.Context())) // after what that began
		s.Op.Unlock()
	}
	engine.has = drivers.Status{ID: id, State: drivers.Running}
	converge()
	if _, err := os.Stat(s.Lease.Share().AuthDir()); err != nil || s.Rec().Lost != "" || !s.Lease.Scheduled() {
		t.Errorf("it runs, and its share: %v; %q", err, s.Rec().Lost)
	}
	engine.has = drivers.Status{}
	s.Set(func() { s.retry = schedule.Backoff{} })
	converge()
	if _, err := os.Stat(s.Lease.Share().AuthDir()); !os.IsNotExist(err) || s.Rec().Lost == "" || s.Lease.Scheduled() {
		t.Errorf("it is gone, and its share: %v; %q", err, s.Rec().Lost)
	}
}
