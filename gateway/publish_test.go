package gateway

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
	"openshell-vm/share"
)

// deny lets nobody add to a directory or take from it, root neither, until it is
// allowed again.
func deny(t testing.TB, dir string) (allow func()) {
	t.Helper()
	set := func(flags int) error {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	if os.Getuid() != 0 {
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		return func() { _ = os.Chmod(dir, 0o755) }
	}
	const immutable = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
	if err := set(immutable); err != nil {
		t.Skipf("needs a file system with the attribute immutable: %v", err)
	}
	return func() { _ = set(0) }
}

// counted reads one of the gateway's metrics; of a histogram, how many it counts.
func counted(t testing.TB, g *Gateway, name string) float64 {
	t.Helper()
	families, err := g.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		m := f.GetMetric()[0]
		return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// plannedFor is when the schedule renews a token next.
func plannedFor(g *Gateway, id string) time.Time { return g.schedule.At(id) }

// TestUntidyPublishIsNoFailure: the sandbox reads the new token, and what follows
// the commit fails: the announcement, or the removal of an old generation. That
// counts as a success everywhere, is renewed at its usual time, and is told.
func TestUntidyPublishIsNoFailure(t *testing.T) {
	const announce, prune = 13, 14 // steps of share.Publish
	for name, step := range map[string]int{"announcement": announce, "old-generation": prune} {
		t.Run(name, func(t *testing.T) {
			engine := newFake("fake")
			w := newWorld(t, engine)
			g := w.run()
			made := w.create(api.CreateRequest{Name: "one"})
			w.start("one")
			s := g.byID(made.ID)
			aged(t, made.Share, time.Hour) // all old generations are due
			allow := func() {}
			opts := g.shareOptions(s.rec())
			opts.Step = func(n int) {
				switch n {
				case step:
					allow = deny(t, made.Share)
				case 15:
					allow()
				}
			}
			stuck, err := share.At(filepath.Dir(made.Share), opts)
			w.must(err)
			healthy := s.share
			s.set(func() { s.share = stuck })
			before, published := w.get("one"), counted(t, g, "openshell_publish_seconds")

			for range 3 {
				_, err = w.client.RotateToken(t.Context(), "one")
				w.must(err)
			}
			now := w.get("one")
			generation, expires := tokenOf(t, g, made.Share)
			if now.Token.Generation != generation || generation < before.Token.Generation+3 || !now.Token.ExpiresAt.Equal(expires) {
				t.Errorf("generation %d before, %d in the share until %v; ps says %+v", before.Token.Generation, generation, expires, now.Token)
			}
			if now.Token.Failures != 0 || now.Token.LastError != "" || now.Reason != "" {
				t.Errorf("it counts as failed: %+v, %q", now.Token, now.Reason)
			}
			if at := plannedFor(g, s.id); !at.Equal(now.Token.RenewAt.Round(0)) {
				t.Errorf("it is renewed at %v, not at %v", at, now.Token.RenewAt)
			}
			for metric, want := range map[string]float64{"openshell_publish_failures_total": 0, "openshell_sandboxes_failing": 0,
				"openshell_sandboxes_expired": 0, "openshell_publish_seconds": published + 3} {
				if got := counted(t, g, metric); got != want {
					t.Errorf("%s is %v, wanted %v", metric, got, want)
				}
			}
			untidy := func(w string) bool { return strings.Contains(w, "can't be tidied up") }
			if !slices.ContainsFunc(now.Warnings, untidy) {
				t.Errorf("it is not told: %q", now.Warnings)
			}

			if n := strings.Count(w.log.String(), "not tidied up"); step == prune && n > 1 {
				t.Errorf("the log has it %d times", n)
			}

			s.set(func() { s.share = healthy })
			_, err = w.client.RotateToken(t.Context(), "one")
			w.must(err)
			if now := w.get("one"); slices.ContainsFunc(now.Warnings, untidy) {
				t.Errorf("it is told for ever: %q", now.Warnings)
			}
			if step == prune {
				left, err := filepath.Glob(filepath.Join(made.Share, "..gen-*"))
				if err != nil || len(left) > 5 {
					t.Errorf("%d generations are left, %v", len(left), err)
				}
			}
		})
	}
}
