package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/procfs"
)

// manySandboxes writes the records of n running sandboxes, on tmpfs if there is one, and
// returns their engine. ask, unless it is nil, completes what is asked for of each.
func manySandboxes(b testing.TB, n int, ask func(i int, q *state.Request)) (*state.Home, *noop) {
	base := ""
	if state.OnTmpfs("/dev/shm") {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "gw")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	b.Setenv(api.EnvStateDir, filepath.Join(dir, "state"))
	b.Setenv(api.EnvRuntimeDir, filepath.Join(dir, "run"))
	home, err := state.Open()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(home.Close)
	b.Logf("shares on %s, %d processors", state.FileSystem(home.Shares), runtime.GOMAXPROCS(0))
	engine := &noop{fake: newFake("fake")}
	writer := roster.New(home, lease.Options{}, func() {})
	for i := range n {
		r := &state.Record{Version: state.Version, ID: fmt.Sprintf("sandbox%05d", i), Name: fmt.Sprint("name-", i), Driver: "fake", CreatedAt: time.Now(),
			Request: state.Request{Name: fmt.Sprint("name-", i), Driver: "fake", Rootfs: "/srv/rootfs", TTL: time.Hour,
				Process: api.Process{Args: []string{"/usr/bin/agent", "--serve"}, Env: []string{"LANG=C.UTF-8", "AGENT=1"}}},
			Staleness: time.Second, Share: filepath.Join(home.Shares, fmt.Sprintf("sandbox%05d", i)),
			Made: true, GenerationLimit: state.GenerationStep}
		if ask != nil {
			ask(i, &r.Request)
		}
		r.Want(state.WantRunning)
		if err := os.Mkdir(home.SandboxDir(r.ID), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := home.Save(r); err != nil {
			b.Fatal(err)
		}
		if err := writer.MakeShare(r); err != nil {
			b.Fatal(err)
		}
		engine.running = append(engine.running, drivers.Status{ID: r.ID, State: drivers.Running, StartedAt: time.Now()})
	}
	return home, engine
}

// noop is an engine in which a fixed set of sandboxes runs. It needs little memory, because
// the gateway's memory is measured.
type noop struct {
	*fake
	running []drivers.Status
}

func (n *noop) List(context.Context) ([]drivers.Status, error) { return slices.Clone(n.running), nil }

func newBenchGateway(b testing.TB, home *state.Home, engine drivers.Driver) *Gateway {
	g, err := New(home, Options{Drivers: []drivers.Driver{engine}, Supervisor: "none", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return g
}

// fresh counts the sandboxes with a token that has not expired.
func fresh(g *Gateway) (n int) {
	for _, s := range g.all() {
		if time.Now().Before(token(s).ExpiresAt) {
			n++
		}
	}
	return n
}

// renewAll makes all sandboxes due, and returns once each was renewed. A renewal that was
// under way may set a later time afterwards; then the sandbox is made due once more.
func renewAll(g *Gateway) { renew(g, g.all()) }

// renew is renewAll for some of them.
func renew(g *Gateway, left []*roster.Item) {
	before := map[string]uint64{}
	for _, s := range left {
		before[s.ID] = token(s).Renewals
	}
	for ; len(left) > 0; time.Sleep(10 * time.Millisecond) {
		now := time.Now()
		left = slices.DeleteFunc(left, func(s *roster.Item) bool { return token(s).Renewals > before[s.ID] })
		for _, s := range left {
			if g.keeper.Renewals().At(s.ID).After(now) || !g.keeper.Renewals().Has(s.ID) {
				g.keeper.Renewals().Set(s.ID, now, now)
			}
		}
	}
}

// Benchmark10000DueRenewals: real mint and publish of 10,000 sandboxes that are
// due at once, through the schedule: with the token for the gateway alone, and with one more
// for another audience. The bound is 2 s, but not with RS256, whose signatures alone take longer.
func Benchmark10000DueRenewals(b *testing.B) {
	for name, more := range map[string][]api.TokenFile{
		"alone": nil,
		"ES256": {{Audience: "https://api.example.com", File: "api.jwt", Algorithm: "ES256"}},
		"RS256": {{Audience: "https://api.example.com", File: "api.jwt", Algorithm: "RS256"}},
	} {
		b.Run(name, func(b *testing.B) { dueRenewals(b, 10_000, more) })
	}
}

func dueRenewals(b *testing.B, n int, more []api.TokenFile) {
	home, engine := manySandboxes(b, n, func(_ int, q *state.Request) { q.Tokens.Files = more })
	g := newBenchGateway(b, home, engine)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go g.keeper.Renewals().Serve(ctx)
	renewAll(g) // their first tokens, which are no renewals
	began, worked := time.Now(), processorTime(b)
	for b.Loop() {
		renewAll(g)
	}
	b.ReportMetric(time.Since(began).Seconds()/float64(b.N), "s/10000-renewals")
	b.ReportMetric((processorTime(b)-worked).Seconds()/float64(b.N), "cpu-s/10000-renewals")
}

// processorTime returns the processor time that this process has used. Unlike the elapsed
// time, it hardly depends on other processes.
func processorTime(b testing.TB) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// Benchmark10000Idle runs a gateway with 10,000 running sandboxes: its memory,
// goroutines and descriptors, against one without any. It also says how long it
// took until all of them, which were due, had a token.
func Benchmark10000Idle(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			home, engine := manySandboxes(b, n, nil)
			debug.SetGCPercent(GCPercent) // as the program does
			took := 0.0
			for b.Loop() {
				began := time.Now()
				g := newBenchGateway(b, home, engine)
				ctx, cancel := context.WithCancel(b.Context())
				ended := make(chan error, 1)
				go func() { ended <- g.Run(ctx) }()
				for fresh(g) < n {
					time.Sleep(time.Millisecond)
				}
				took = time.Since(began).Seconds()
				time.Sleep(5 * time.Second) // looks at the engine, and no request
				b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
				b.ReportMetric(float64(descriptors(b)), "descriptors")
				b.ReportMetric(float64(residentKB(b, "VmRSS"))/1024, "MB-RSS")
				b.ReportMetric(float64(residentKB(b, "RssAnon"))/1024, "MB-anonymous")
				cancel()
				if err := <-ended; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(took, "s-until-fresh")
		})
	}
}

func descriptors(b testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		b.Fatal(err)
	}
	return len(entries)
}

func residentKB(b testing.TB, kind string) int {
	value, err := procfs.Field(procfs.Path(0, "status"), kind)
	if err != nil {
		b.Fatal(err)
	}
	kb, err := strconv.Atoi(strings.TrimSuffix(value, " kB"))
	if err != nil {
		b.Fatal(err)
	}
	return kb
}
