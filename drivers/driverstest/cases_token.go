package driverstest

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/trees"
)

// readOnly: whatever root inside tries, the share stays as it is. So do the user's
// directories, and a file system that is mounted below one.
func readOnly(t *testing.T, s *fixture.Suite) string {
	source := s.Source(t)
	note := "submounts not tried: they can't be mounted here"
	if s.Mounted(t, filepath.Join(source, "sub")) {
		note = "with a submount"
	}
	b := s.Box(t, func(b *fixture.Box) {
		b.Mount(source, "/data")
		b.Runs("tamper", drivers.AuthDir, "/data", "/data/sub")
	})
	before := append(trees.Snapshot(t, b.Share.AuthDir()), trees.Snapshot(t, source)...)
	out, code := b.Run(false).Rest()
	if code != 0 {
		t.Fatalf("the witness ended with %d: %q", code, out)
	}
	attempts := map[string]int{}
	for _, line := range out {
		_, result, _ := strings.Cut(line, ": ")
		attempts[result]++
		if result == "DONE" && !strings.HasPrefix(line, "remount") {
			t.Errorf("%s", line)
		}
	}
	if len(out) < 60 {
		t.Errorf("only %d attempts: %q", len(out), out)
	}
	if after := append(trees.Snapshot(t, b.Share.AuthDir()), trees.Snapshot(t, source)...); !slices.Equal(before, after) {
		t.Errorf("the host's tree changed:\n%q\n%q", before, after)
	}
	t.Logf("%d attempts: %v", len(out), attempts)
	return fmt.Sprintf("%d attempts, %s", len(out), note)
}

// visible: a polling reader inside sees every publish. Once the driver's bound is over,
// no reader sees what was there before. The figures contain the time in which the
// reader's report comes back to the host.
func visible(t *testing.T, s *fixture.Suite) string {
	const publishes = 50
	b := s.Box(t, func(b *fixture.Box) { b.Runs("watch", drivers.AuthDir) })
	client := b.Run(false)
	client.Expect("1 ok")
	var took []time.Duration
	for range publishes {
		n, _ := b.Publish()
		begin := time.Now()
		if line := client.Line(); line != fmt.Sprintf("%d ok", n) {
			t.Fatalf("generation %d was published, %q was seen", n, line)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	promised := promised(b, 3, func() uint64 { n, _ := b.Publish(); return n })
	return fmt.Sprintf("p50 %.1f ms, max %.1f ms of %d; promised %v", ms(took[publishes/2]), ms(took[publishes-1]), publishes, promised)
}

// promised holds the driver to its staleness bound, which it returns. A reader inside
// reads what is there. That long after a publish it reads again, and gets the new one.
// A busy machine makes the answer late, and never wrong.
func promised(b *fixture.Box, times int, publish func() uint64) time.Duration {
	b.T.Helper()
	_, staleness, err := b.Driver.Resolve(b.T.Context(), b.Spec)
	if err != nil {
		b.T.Fatal(err)
	}
	reader := b.Exec(drivers.Process{Args: []string{b.Tool, "answer", drivers.AuthDir}}, true)
	ask := func() string {
		if _, err := io.WriteString(reader.Stdin, "\n"); err != nil {
			b.T.Fatal(err)
		}
		return reader.Line()
	}
	for range times {
		before := ask()
		n := publish()
		time.Sleep(staleness) // it is the promise
		if now := ask(); now != fmt.Sprintf("%d ok", n) {
			b.T.Errorf("%v after generation %d was published, %q was read; %q before it", staleness, n, now, before)
		}
	}
	reader.Stdin.Close()
	reader.Rest()
	return staleness
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// racing: a reader that never pauses sees no torn token, no older one, and always one.
func racing(t *testing.T, s *fixture.Suite) string {
	const publishes = 1000
	b := s.Box(t, func(b *fixture.Box) {
		b.Runs("race", drivers.AuthDir)
		b.Spec.Stdin = true
	})
	client := b.Run(true)
	client.Expect("ready")
	var last uint64
	begin := time.Now()
	for range publishes {
		last, _ = b.Publish()
		time.Sleep(5 * time.Millisecond) // leave an emulated reader some of the processor
	}
	took := time.Since(begin)
	_, staleness, err := b.Driver.Resolve(t.Context(), b.Spec)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(staleness) // the last one may be seen that late
	client.Stdin.Close()
	out, _ := client.Rest()
	var reads, bad int
	var seen uint64
	if len(out) == 0 {
		t.Fatal("no report")
	}
	if _, err := fmt.Sscanf(out[len(out)-1], "reads=%d bad=%d last=%d", &reads, &bad, &seen); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if bad != 0 || seen != last || reads < publishes/20 {
		t.Errorf("%d reads, %d bad, generation %d of %d seen; %q", reads, bad, seen, last, out)
	}
	return fmt.Sprintf("%d reads in %.1f s, %d bad", reads, took.Seconds(), bad)
}

// resumed: a sandbox that was down sees at once what was published meanwhile. What it
// wrote before is still there.
func resumed(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, func(b *fixture.Box) {
		// Not everybody is root in the sandbox, and /tmp may be in memory.
		b.Shell("m=/var/marker; [ -w /var ] || m=/tmp/marker; [ -e $m ] && echo marked; touch $m; sync; " +
			"cut -d. -f1 " + drivers.TokenFile + "; exec " + b.Tool + " hold")
	})
	first := b.Run(false)
	first.Expect("1")
	first.Expect("ready")
	b.Stop(10 * time.Second)
	_, expired := b.Publish()
	n, _ := b.Publish()
	begin := time.Now()
	second := b.Run(false)
	second.Expect("marked")
	if got := second.Line(); got != strconv.FormatUint(n, 10) {
		t.Errorf("generation %s after the resume, %d was published (and %d bytes before it)", got, n, len(expired))
	}
	return fmt.Sprintf("first read %.0f ms after the start", ms(time.Since(begin)))
}
