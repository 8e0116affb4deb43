package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/secrets/vault"
	"openshell-vm/gateway/state"
)

// sourced is a gateway whose sandboxes show three sources each: a file of the host, which is
// one for the first of them and for each of the others its own; the output of a command, which a
// hundred have in common; and a secret, which all have.
type sourced struct {
	testing.TB
	g     *Gateway
	dir   string // where the files lie
	first string // the one that the first have in common
	stop  func()
}

// newSourced runs such a gateway with n sandboxes until stop is called, or for comparison one whose
// sandboxes show nothing. So many as common says have one file in common.
func newSourced(t testing.TB, n, common int, with bool) *sourced {
	w := &sourced{TB: t, dir: t.TempDir()}
	w.first = filepath.Join(w.dir, "first")
	home, engine := manySandboxes(t, n, func(i int, q *state.Request) {
		if !with {
			return
		}
		file := w.first
		if i >= common {
			file = filepath.Join(w.dir, fmt.Sprint(i))
		}
		w.must(os.WriteFile(file, []byte("content 0 of a file\n"), 0o600))
		q.Sources = []api.Source{{Name: "ca.pem", File: file}, {Name: "gh-token", Command: []string{"echo", fmt.Sprint("gho_", i/100)}},
			{Name: "db", Secret: "db", Mode: 0o400}}
	})
	v, err := vault.Open(home.Secrets(), home.SecretsKey())
	w.must(err)
	w.must(v.Write("db", []byte("a secret of the sandboxes"), true))
	w.g = newBenchGateway(t, home, engine)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.g.Run(ctx) }()
	w.stop = func() {
		cancel()
		w.must(<-ended)
	}
	w.until(func(s *roster.Item) bool {
		return token(s).Renewals > 0 && (!with || w.shows(s, "ca.pem", "content 0") && w.shows(s, "gh-token", "gho_"))
	})
	return w
}

func (w *sourced) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// until waits until all sandboxes have been so. It looks at each until it is.
func (w *sourced) until(is func(*roster.Item) bool) {
	for _, s := range w.g.all() {
		for !is(s) {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func (w *sourced) shows(s *roster.Item, file, begin string) bool {
	data, _ := os.ReadFile(filepath.Join(s.Lease.Share().AuthDir(), file))
	return strings.HasPrefix(string(data), begin)
}

// change replaces the file that the first have in common, and returns once all of them show that.
func (w *sourced) change(round int) {
	text := fmt.Sprintf("content %d of a file\n", round)
	w.must(os.WriteFile(w.first+".new", []byte(text), 0o600))
	w.must(os.Rename(w.first+".new", w.first))
	w.until(func(s *roster.Item) bool {
		sources := s.Rec().Request.Sources
		return len(sources) == 0 || sources[0].File != w.first || w.shows(s, "ca.pem", text)
	})
}

// Benchmark10000Sources runs a gateway with 10,000 sandboxes that show three sources each, and
// one whose sandboxes show none: how long all take to be published, what one change of a file that a
// thousand have in common takes until all of them show it, and what all of it needs of memory,
// goroutines and descriptors.
func Benchmark10000Sources(b *testing.B) {
	const n = 10_000
	debug.SetGCPercent(GCPercent) // as the program does
	took := map[bool]time.Duration{}
	for _, with := range []bool{false, true} {
		b.Run(map[bool]string{false: "without", true: "with"}[with], func(b *testing.B) {
			for b.Loop() {
				began := time.Now()
				w := newSourced(b, n, 1000, with)
				b.ReportMetric(time.Since(began).Seconds(), "s-until-published")
				began = time.Now()
				renewAll(w.g)
				took[with] = time.Since(began)
				b.ReportMetric(n/took[with].Seconds(), "publishes/s")
				if with {
					b.ReportMetric(took[true].Seconds()/took[false].Seconds(), "publish/without")
					began = time.Now()
					w.change(1)
					b.ReportMetric(time.Since(began).Seconds(), "s-1000-changed")
				}
				runtime.GC()
				b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
				b.ReportMetric(float64(descriptors(b)), "descriptors")
				b.ReportMetric(float64(residentKB(b, "RssAnon"))/1024, "MB-anonymous")
				w.stop()
			}
		})
	}
}

// TestSourcesNeedNothingEach: no share, no file and no command has a goroutine or a descriptor.
func TestSourcesNeedNothingEach(t *testing.T) {
	most := map[int][2]int{}
	for _, n := range []int{10, 300} {
		w := newSourced(t, n, n/2, true)
		w.change(1)
		settled := func() (now [2]int) { return [2]int{runtime.NumGoroutine(), descriptors(t)} }
		for end := time.Now().Add(time.Minute); n > 10; time.Sleep(20 * time.Millisecond) {
			if now, few := settled(), most[10]; now[0] < few[0]+30 && now[1] < few[1]+30 {
				break
			} else if time.Now().After(end) {
				t.Fatalf("goroutines and descriptors with %d sandboxes: %v, with 10: %v", n, now, few)
			}
		}
		most[n] = settled()
		w.stop()
	}
	t.Logf("goroutines and descriptors by sandboxes: %v", most)
}
