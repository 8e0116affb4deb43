package gateway

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/config"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

// patience bounds one wait for something to happen. It is generous, because other tests keep
// the machine busy and no test here is about speed.
const patience = 2 * time.Minute

// world is a state directory with engines, and gateways one after the other.
type world struct {
	testing.TB
	dir      string
	engines  []drivers.Driver
	settings config.Reader   // of the next gateway
	log      *capture.Buffer // also goes to the test's output if it fails

	gateway *Gateway
	client  *api.Client
	ended   chan error
}

// newWorld points the environment to fresh directories. They are short: socket
// paths are limited.
func newWorld(t testing.TB, engines ...drivers.Driver) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, dir: dir, engines: engines, log: &capture.Buffer{}}
	t.Setenv(api.EnvStateDir, filepath.Join(dir, "state"))
	t.Setenv(api.EnvRuntimeDir, filepath.Join(dir, "run"))
	t.Cleanup(func() {
		w.stop()
		if t.Failed() {
			t.Log(w.log)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// open makes a gateway without running it.
func (w *world) open() *Gateway {
	w.Helper()
	home, err := state.Open()
	w.must(err)
	w.Cleanup(func() { w.stop(); home.Close() }) // the gateway looks at it to its end
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	live, err := config.Open(w.settings, "")
	w.must(err)
	g, err := New(home, Options{Config: live, Drivers: w.engines, Version: "test", Supervisor: "none", Log: log,
		LookEvery: 20 * time.Millisecond})
	w.must(err)
	w.gateway = g
	return g
}

// run runs a gateway and connects to it.
func (w *world) run() *Gateway {
	w.Helper()
	g := w.open()
	w.ended = make(chan error, 1)
	go func() { w.ended <- g.Run(context.Background()) }()
	w.eventually("the gateway listens", func() bool {
		client, err := api.Connect(context.Background())
		w.client = client
		return err == nil
	})
	return g
}

// stop ends the gateway. The next one can begin only after that.
func (w *world) stop() {
	w.Helper()
	if w.ended == nil {
		return
	}
	w.checkSchedule()
	w.client.Close()
	w.gateway.Stop()
	select {
	case err := <-w.ended:
		w.must(err)
	case <-time.After(patience):
		w.Fatal("the gateway does not end")
	}
	w.gateway.home.Close()
	w.ended = nil
}

// checkSchedule expects that Item.Uphold never had to put a token back on the schedule.
func (w *world) checkSchedule() {
	w.Helper()
	for _, s := range w.gateway.all() {
		s.Uphold()
	}
	if n := repairs(w.TB, w.gateway); n != 0 {
		w.Errorf("%v times nothing was going to renew a token", n)
	}
}

func repairs(t testing.TB, g *Gateway) float64 {
	t.Helper()
	families, err := g.metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "openshell_schedule_repairs_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("the repairs are not counted")
	return 0
}

func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	began, end := time.Now(), time.Now().Add(patience)
	for ; !ok(); began = time.Now() {
		if began.After(end) {
			w.Fatalf("not within %v: %s\n%s", patience, what, w.log)
		}
		time.Sleep(max(2*time.Millisecond, 2*time.Since(began))) // a look may cost more than what it waits for
	}
}

// create makes a sandbox on the fake engine, by the API.
func (w *world) create(q api.CreateRequest) api.Sandbox {
	w.Helper()
	if q.Driver == "" {
		q.Driver = "fake"
	}
	s, err := w.client.Create(w.Context(), q)
	w.must(err)
	return s
}

func (w *world) start(ref string) api.Sandbox {
	w.Helper()
	s, err := w.client.Start(w.Context(), ref)
	w.must(err)
	return s
}

func (w *world) get(ref string) api.Sandbox {
	w.Helper()
	s, err := w.client.Get(w.Context(), ref)
	w.must(err)
	return s
}

// refused expects an API error with one line and a hint.
func refused(t testing.TB, err error, code, says string) {
	t.Helper()
	e, ok := err.(*api.Error)
	if !ok {
		t.Fatalf("the error is %v, a refusal is wanted", err)
	}
	if e.Code != code || !strings.Contains(e.Message, says) || e.Hint == "" || strings.ContainsAny(e.Message+e.Hint, "\n") {
		t.Errorf("refused with %q, %q, hint %q; wanted %q, …%q…", e.Code, e.Message, e.Hint, code, says)
	}
}

// publishRaw publishes a token file and its metadata as they are given.
func publishRaw(t testing.TB, s *roster.Item, raw, metadata []byte) {
	t.Helper()
	_, err := s.Lease.Share().Publish(t.Context(), 0, func(uint64) ([]share.File, error) {
		return []share.File{{Name: contract.TokenName, Data: raw}, {Name: contract.MetadataName, Data: metadata}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
