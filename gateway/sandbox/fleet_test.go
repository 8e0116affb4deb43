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

// oneDriver has one sandbox at most.
type oneDriver struct {
	drivers.Driver
	name string
	has  drivers.Status
}

func (d *oneDriver) Name() string { return d.name }

func (d *oneDriver) Inspect(_ context.Context, id string) (drivers.Status, error) {
	if d.has.ID != id {
		return drivers.Status{}, drivers.ErrNotFound
	}
	return d.has, nil
}

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

// A sandbox that does not mount a share of this gateway is not adopted.
func TestNotAdopted(t *testing.T) {
	engine := &oneDriver{name: "fake"}
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
	engine := &oneDriver{name: "fake"}
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
		mender{s}.converge(t.Context(), drivers.Status{}, false, true, time.Now())
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
