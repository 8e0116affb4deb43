package monitor

import (
	"errors"
	"testing"
	"time"
)

// TestWhoWritesIsStopped lets time go by second after second.
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
		{"a heavy writer", 100 << 10, []at{{300, 1, goOn}, {257, 50, goOn}, {250, 60, freeze}, {250, 60, goOn}}},
		{"a light writer", 100 << 10, []at{{300, 1, goOn}, {250, 2, goOn}, {130, 3, goOn}, {127, 3, freeze}}},
		{"one that reads", 100 << 10, []at{{300, 70, goOn}, {250, 70, goOn}, {3, 70, goOn}, {0, 70, goOn}}},
		{"a small file system", 384, []at{{100, 1, goOn}, {25, 80, goOn}, {23, 82, freeze}}},
		{"it goes on", 384, []at{{20, 1, goOn}, {20, 9, freeze}, {35, 9, goOn}, {37, 9, thaw}}},
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
				r.frozen = r.frozen && got != thaw || got == freeze
			}
		})
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
