package monitor

import (
	"errors"
	"testing"
	"time"
)

// TestWhoWritesIsStopped advances the time in steps of a second.
func TestWhoWritesIsStopped(t *testing.T) {
	const mib = 1 << 20
	type at struct {
		free, used int64 // MiB
		want       verdict
	}
	for _, test := range []struct {
		name string
		all  int64
		days []at
	}{
		{"there is room", 100 << 10, []at{{5000, 1, goOn}, {4000, 1001, goOn}, {3000, 2001, goOn}}},
		{"a heavy writer", 100 << 10, []at{{400, 1, goOn}, {310, 50, goOn}, {250, 60, freeze}, {250, 60, goOn}}},
		{"before the reserve is touched", 100 << 10, []at{{400, 1, goOn}, {300, 101, freeze}}},
		{"a light writer", 100 << 10, []at{{300, 1, goOn}, {250, 2, goOn}, {130, 3, goOn}, {127, 3, freeze}}},
		{"one that reads", 100 << 10, []at{{300, 70, goOn}, {250, 70, goOn}, {3, 70, goOn}, {0, 70, goOn}}},
		{"a smaller file system", 2 << 10, []at{{200, 1, goOn}, {140, 11, goOn}, {129, 12, goOn}, {127, 13, freeze}}},
		{"a small one", 384, []at{{200, 1, goOn}, {75, 6, goOn}, {65, 7, goOn}, {63, 8, freeze}}},
		{"a tiny one", 100, []at{{50, 1, goOn}, {32, 6, goOn}, {26, 7, goOn}, {24, 8, freeze}}},
		{"it goes on", 384, []at{{60, 1, goOn}, {60, 9, freeze}, {95, 9, goOn}, {97, 9, thaw}}},
		{"what was in flight", 384, []at{{60, 1, goOn}, {60, 9, freeze}, {40, 29, goOn}, {20, 29, goOn}}},
		{"one that goes on and on", 384, []at{{60, 1, goOn}, {60, 9, freeze}, {40, 29, goOn}, {30, 39, kill}}},
		{"a file system without a size", 0, []at{{0, 1, goOn}, {0, 100, goOn}}},
		{"others go on and on", 384, []at{{60, 1, goOn}, {60, 9, freeze}, {40, 9, goOn}, {0, 9, goOn}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var now at
			r := newRoom("")
			r.look = func() (space, error) { return space{now.free * mib, test.all * mib}, nil }
			r.used = func() int64 { return now.used * mib }
			begin := time.Now()
			for i, day := range test.days {
				now = day
				got, _ := r.tick(begin.Add(time.Duration(i) * time.Second))
				if got != day.want {
					t.Errorf("second %d, %+v: verdict %d", i, day, got)
				}
				r.frozen = r.frozen && got != thaw
			}
		})
	}
}

// TestWhoStopsIsSpared has a guest write its last data after it was told to stop. It is
// killed only if the room for renewals really runs out.
func TestWhoStopsIsSpared(t *testing.T) {
	const mib = 1 << 20
	s := space{free: 3000 * mib, all: 100 << 30}
	used := int64(0)
	r := newRoom("")
	r.look = func() (space, error) { return s, nil }
	r.used = func() int64 { return used }
	m := &monitor{}
	for _, step := range []struct {
		free, used int64
		killed     bool
	}{{3000, 1, false}, {1100, 1901, false}, {200, 2801, false}, {120, 2881, true}} {
		s.free, used = step.free*mib, step.used*mib
		if reason := r.keep(m, true); (reason != "") != step.killed || r.frozen && !step.killed {
			t.Errorf("%+v: %q, frozen %v", step, reason, r.frozen)
		}
	}
}

func TestGrowthIsForgotten(t *testing.T) {
	var g growth
	begin := time.Now()
	grown := func(seconds int, used int64) int64 { return g.add(begin.Add(time.Duration(seconds)*time.Second), used) }
	grown(0, 100)
	if n := grown(5, 150); n != 50 {
		t.Errorf("grown by %d, want 50", n)
	}
	if n := grown(12, 150); n != 50 {
		t.Errorf("soon after: %d", n)
	}
	if n := grown(15, 120); n != 50 {
		t.Errorf("a disk that shrinks has grown before: %d", n)
	}
	if n := grown(24, 120); n != 0 {
		t.Errorf("long after: %d", n)
	}
}

func TestAnUnreadableFileSystemFreezesNobody(t *testing.T) {
	r := newRoom("")
	r.look = func() (space, error) { return space{}, errors.New("stale") }
	r.used = func() int64 { return 0 }
	if v, _ := r.tick(time.Now()); v != goOn {
		t.Errorf("verdict %d", v)
	}
}
