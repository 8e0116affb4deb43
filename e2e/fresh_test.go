//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// longest is how long a test reads at most to get the numbers that it wants.
const longest = 8 * time.Minute

// TestTokenIsAlwaysFresh reads the token in a real guest while the gateway renews it: 5
// renewals and 400 readings, if there is time for them. No reading may be torn, missing or
// expired. All the while no token may show anywhere but in the share. Readings that race with
// publishes by the thousand are the conformance suite's.
func TestTokenIsAlwaysFresh(t *testing.T) {
	usersAtOnce(t, func(t *testing.T, w *world) {
		s := w.start("fresh", "16s")
		j := w.judgeOf(s.Share)
		rounds, stopSearch := w.watchForLeaks(j)

		readings, generations, began := 0, map[uint64]bool{}, time.Now()
		atLeast := func(least, renewals int) bool {
			return readings >= least && len(generations) > renewals && int(rounds.Load()) >= least/20
		}
		// A busy machine does less in that time, but it must not do much less.
		more := func() bool { return !atLeast(400, 5) && (time.Since(began) < longest || !atLeast(200, 3)) }
		w.witness("fresh", 3*longest, func(r reading) bool {
			if err := j.check(r); err != nil {
				t.Errorf("reading %d: %v", readings, err)
			}
			readings++
			generations[r.Generation] = true
			return more()
		}, "-count", "0", "-every", "15ms")

		found := stopSearch()
		t.Logf("%d readings over %d renewals; %d searches for leaks", readings, len(generations)-1, rounds.Load())
		if !atLeast(200, 3) {
			t.Errorf("only %d readings and %d renewals", readings, len(generations)-1)
		}
		if len(found) > 0 {
			t.Errorf("in %d searches a token was found in %v", rounds.Load(), found)
		}
		w.provesSearch(j.tokens()[0])
	})
}

// TestRustVirtiofsd reads the token over three renewals through the Rust virtiofsd. The other
// tests use the one that is installed. TestFreshness of drivers/vm has root's.
func TestRustVirtiofsd(t *testing.T) {
	program := os.Getenv("OPENSHELL_RUST_VIRTIOFSD")
	switch {
	case program == "" && os.Getenv("E2E_REQUIRE") == "1":
		t.Fatal("OPENSHELL_RUST_VIRTIOFSD is not set: scripts/e2e sets it")
	case program == "":
		t.Skip("OPENSHELL_RUST_VIRTIOFSD names no program")
	}
	asUser(t, func(t *testing.T, w *world) {
		w.setenv("OPENSHELL_VIRTIOFSD", program)
		j := w.judgeOf(w.start("rust", "16s").Share)
		generations := map[uint64]bool{}
		w.witness("rust", 10*time.Minute, func(r reading) bool {
			if err := j.check(r); err != nil {
				t.Error(err)
			}
			generations[r.Generation] = true
			return len(generations) < 4
		}, "-count", "0", "-every", "20ms")
		if out := w.run("inspect", "rust"); !strings.Contains(out, program) {
			t.Errorf("the sandbox does not run with %s:\n%s", program, out)
		}
	})
}

// staleness is how long a guest under QEMU may still read the previous generation.
const staleness = time.Second

// TestPublishIsSeen reads as often as it can while the gateway publishes 50 times. No read that
// begins later than the driver's bound after a publish may find the previous generation.
// BenchmarkSeen measures how soon a publish is usually seen.
func TestPublishIsSeen(t *testing.T) {
	asUser(t, func(t *testing.T, w *world) {
		s := w.start("seen", "1h")
		j := w.judgeOf(s.Share)
		publishes, most := 0, time.Duration(0)
		w.witness("seen", 10*time.Minute, func(r reading) bool {
			if err := j.check(r); err != nil {
				t.Fatal(err)
			}
			if r.Generation > s.Token.Generation { // not the one it started with
				publishes++
				late := time.Unix(0, r.Before).Sub(j.since(r.Generation))
				if most = max(most, late); late > staleness+clockSlack {
					t.Errorf("%v after generation %d was current, the one before it was read", late, r.Generation)
				}
			}
			if publishes < 50 {
				go w.try("token", "rotate", "seen")
				return true
			}
			return false
		}, "-count", "0", "-every", "2ms", "-changes")
		t.Logf("%d publishes; the last read of what was before began at most %v after one", publishes, most)
	})
}

// BenchmarkSeen measures the time from a publish until it is visible. It compares that with one
// question to the sandbox and its answer. Both include the way to the test's process, and the
// wait for the reader's turn on the processor.
func BenchmarkSeen(b *testing.B) {
	for _, e := range engines {
		b.Run(e.driver, func(b *testing.B) {
			w := newWorld(b, os.Getuid())
			if host := hostVars[e.driver]; host != "" && os.Getenv(host) == "" {
				b.Skipf("%s is not set", host)
			} else if host != "" {
				w.setenv(host, os.Getenv(host))
			}
			s := w.start("seen", "1h", e.flags...)
			for b.Loop() {
				answers, publishes := w.answers("seen"), w.publishes("seen", w.judgeOf(s.Share))
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(median(answers).Microseconds())/1000, "ms-answer")
				b.ReportMetric(float64(median(publishes).Microseconds())/1000, "ms-seen")
				b.ReportMetric(float64(median(publishes))/float64(median(answers)), "ratio")
			}
		})
	}
}

// answers measures how long questions to the witness take.
func (w *world) answers(name string) (took []time.Duration) {
	w.Helper()
	cmd := w.command(context.Background(), "openshell-vm", "exec", "-i", name, "/witness/reader", "-count", "0", "-every", "0s", "-asked")
	in, err := cmd.StdinPipe()
	w.must(err)
	out, err := cmd.StdoutPipe()
	w.must(err)
	w.must(cmd.Start())
	for lines := bufio.NewReader(out); len(took) < 50; {
		began := time.Now()
		_, err := io.WriteString(in, "?\n")
		w.must(err)
		_, err = lines.ReadString('\n')
		w.must(err)
		took = append(took, time.Since(began))
	}
	w.must(in.Close())
	w.must(cmd.Wait())
	return took
}

// publishes measures how long it takes until the witness reports a publish.
func (w *world) publishes(name string, j *judge) (took []time.Duration) {
	w.Helper()
	generation := w.sandbox(name).Token.Generation
	w.witness(name, 10*time.Minute, func(r reading) bool {
		if r.Generation > generation {
			took = append(took, r.arrived.Sub(j.since(r.Generation)))
		}
		if len(took) < 50 {
			go w.try("token", "rotate", name)
		}
		return len(took) < 50
	}, "-count", "0", "-every", "2ms", "-changes")
	return took
}

// report prints the distribution of durations.
func report(t testing.TB, what string, took []time.Duration) {
	t.Helper()
	if len(took) == 0 {
		t.Fatalf("%s: nothing was measured", what)
	}
	slices.Sort(took)
	at := func(q int) time.Duration {
		return took[min(len(took)-1, len(took)*q/100)].Round(time.Millisecond)
	}
	t.Logf("%s, %d times: p50 %v, p99 %v, max %v", what, len(took), at(50), at(99), at(100))
}
