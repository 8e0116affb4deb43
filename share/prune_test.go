package share

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"openshell-vm/share/layout"
)

// superseded sets when the generation before n was superseded.
func superseded(t *testing.T, s *Share, n uint64, at time.Time) {
	t.Helper()
	if err := os.Chtimes(filepath.Join(s.AuthDir(), layout.Announcement(n)), time.Time{}, at); err != nil {
		t.Fatal(err)
	}
}

// kept returns the generations from 1 to newest that are still there.
func kept(t *testing.T, s *Share, newest uint64) []uint64 {
	t.Helper()
	var list []uint64
	for n := uint64(1); n <= newest; n++ {
		_, gerr := os.Stat(filepath.Join(s.AuthDir(), layout.Generation(n), "a"))
		_, ierr := os.Stat(filepath.Join(s.AuthDir(), layout.Announcement(n)))
		if (gerr == nil) != (ierr == nil) {
			t.Errorf("generation %d: %v, its announcement: %v", n, gerr, ierr)
		}
		if gerr == nil {
			list = append(list, n)
		}
	}
	return list
}

func TestPruneByAge(t *testing.T) {
	const grace = time.Minute
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct {
		second, third time.Time // when generations 1 and 2 were superseded
		at            time.Time // of Prune
		first         uint64    // that is kept
	}{
		"all young":         {ago(2 * time.Second), ago(time.Second), now, 1},
		"just not old":      {ago(grace - time.Second), ago(time.Second), now, 1},
		"one is old":        {ago(grace), ago(time.Second), now, 2},
		"both are old":      {ago(2 * grace), ago(grace), now, 3},
		"asked about later": {ago(2 * time.Second), ago(time.Second), now.Add(grace), 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestShare(t, Options{Grace: grace})
			for range 3 {
				mustPublish(t, s, provenFiles("a"))
			}
			superseded(t, s, 2, c.second)
			superseded(t, s, 3, c.third)
			if _, err := s.Prune(t.Context(), c.at); err != nil {
				t.Fatal(err)
			}
			if got := kept(t, s, 3); got[0] != c.first || len(got) != int(4-c.first) {
				t.Errorf("kept %v, want those from %d", got, c.first)
			}
			wantFiles(t, s, File{Name: "a", Data: proven(3, "a")})
		})
	}
}

func TestPublishPrunesWhenUnchangedToo(t *testing.T) {
	s := newTestShare(t, Options{Grace: time.Minute})
	mustPublish(t, s, provenFiles("a"))
	mustPublish(t, s, with(File{Name: "a", Data: []byte("same")}))
	superseded(t, s, 2, time.Now().Add(-time.Hour))
	if p := mustPublish(t, s, with(File{Name: "a", Data: []byte("same")})); p.Changed {
		t.Fatal(p)
	}
	if got := kept(t, s, 2); len(got) != 1 {
		t.Errorf("kept %v", got)
	}
}

// TestPruneAfterClockWentBack sets the clock back a year after a generation was
// superseded. The generation is neither removed at once nor kept for a year.
func TestPruneAfterClockWentBack(t *testing.T) {
	const grace = time.Minute
	s := newTestShare(t, Options{Grace: grace})
	mustPublish(t, s, provenFiles("a"))
	mustPublish(t, s, provenFiles("a"))
	year := time.Now().Add(-365 * 24 * time.Hour)
	for _, c := range []struct {
		at   time.Time
		want int
	}{
		{year, 2}, {year.Add(grace / 2), 2}, {year.Add(grace - 1), 2}, {year.Add(grace), 1},
	} {
		if _, err := s.Prune(t.Context(), c.at); err != nil {
			t.Fatal(err)
		}
		if got := kept(t, s, 2); len(got) != c.want {
			t.Errorf("at %v kept %v, want %d", c.at.Sub(year), got, c.want)
		}
	}
}

// TestPruneAfterClockStepped lets the clock step, as it does after the host slept. The
// time asleep does not count as grace.
func TestPruneAfterClockStepped(t *testing.T) {
	t.Cleanup(func() { steps.set = time.Time{} })
	s := newTestShare(t, Options{Grace: time.Minute})
	mustPublish(t, s, provenFiles("a"))
	mustPublish(t, s, provenFiles("a"))
	now := time.Now()
	superseded(t, s, 2, now.Add(-time.Hour)) // by the clock; in truth a moment ago
	steps.set = now.Add(-time.Second)
	for _, c := range []struct {
		at   time.Time
		want int
	}{
		{now, 2}, {now.Add(time.Minute - 1), 2}, {now.Add(time.Minute), 1},
	} {
		if _, err := s.Prune(t.Context(), c.at); err != nil {
			t.Fatal(err)
		}
		if got := kept(t, s, 2); len(got) != c.want {
			t.Errorf("%v after the step kept %v, want %d", c.at.Sub(now), got, c.want)
		}
	}
}

func TestClockSteps(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1_000_000+int64(s), 0) }
	var c clockSteps
	for _, step := range []struct {
		now    int
		offset time.Duration
		set    time.Time
	}{
		{0, 0, time.Time{}},
		{10, time.Millisecond, time.Time{}}, // two readings are never at one moment
		{3610, time.Hour, at(3610)},         // slept
		{3620, time.Hour + time.Millisecond, at(3610)},
		{20, 0, at(20)}, // set back
		{30, 0, at(20)},
	} {
		if got := c.compare(at(step.now), step.offset); !got.Equal(step.set) {
			t.Errorf("at %d with offset %v: set at %v, want %v", step.now, step.offset, got, step.set)
		}
	}
	if got := (&clockSteps{origin: time.Now()}).observe(); !got.IsZero() {
		t.Errorf("a clock that nobody set was set at %v", got)
	}
}

// TestUnannouncedSuccessorKeeps keeps a generation whose successor is not announced:
// nobody knows when it was superseded.
func TestUnannouncedSuccessorKeeps(t *testing.T) {
	s := newTestShare(t, Options{Grace: time.Nanosecond})
	mustPublish(t, s, provenFiles("a"))
	tx, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.close()
	tx.prune(&view{current: 2, generations: []uint64{1, 2}, announced: []uint64{1}}, time.Now(), 0)
	if got := kept(t, s, 1); len(got) != 1 {
		t.Error("generation 1 was removed")
	}
}
