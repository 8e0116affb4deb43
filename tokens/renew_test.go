package tokens

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestMinTTL(t *testing.T) {
	for _, c := range []struct{ staleness, want time.Duration }{
		{time.Second, 16 * time.Second},
		{6 * time.Second, 27 * time.Second},
		{0, 14 * time.Second},
		{3 * time.Second, 21 * time.Second}, // 20 s would leave 9 s, not more than 9 s
	} {
		if got := MinTTL(c.staleness); got != c.want {
			t.Errorf("MinTTL(%v) = %v, want %v", c.staleness, got, c.want)
		}
	}
}

// TestMinTTLIsTheSmallest checks the invariant and not the formula. With the smallest
// lifetime the latest renewal leaves more than staleness and slack; with one second less
// it does not.
func TestMinTTLIsTheSmallest(t *testing.T) {
	for staleness := time.Duration(0); staleness < time.Minute; staleness += 250 * time.Millisecond {
		least := MinTTL(staleness)
		enough := func(ttl time.Duration) bool { return ttl*45 > (staleness+6*time.Second)*100 }
		if !enough(least) || enough(least-time.Second) {
			t.Errorf("staleness %v: %v is not the smallest lifetime that works", staleness, least)
		}
	}
}

func TestCheckTTL(t *testing.T) {
	for _, c := range []struct {
		ttl, staleness time.Duration
		least          string // in the error; "" for none
	}{
		{15 * time.Second, time.Second, "16s"},
		{16 * time.Second, time.Second, ""},
		{26 * time.Second, 6 * time.Second, "27s"},
		{27 * time.Second, 6 * time.Second, ""},
		{0, time.Second, "16s"},
		{-time.Hour, time.Second, "16s"},
		{20*time.Minute - 1, time.Second, ""},
		{20 * time.Minute, time.Second, ""},
		{DefaultTTL, 6 * time.Second, ""},
		{MaxTTL, time.Second, ""},
	} {
		err := CheckTTL(c.ttl, c.staleness)
		if c.least == "" {
			if err != nil {
				t.Errorf("CheckTTL(%v, %v): %v", c.ttl, c.staleness, err)
			}
			continue
		}
		var e *TTLError
		if !errors.As(err, &e) || !errors.Is(err, ErrTTL) {
			t.Fatalf("CheckTTL(%v, %v) = %v, want a *TTLError with ErrTTL", c.ttl, c.staleness, err)
		}
		if !strings.Contains(e.Error(), c.least) || e.Least.String() != c.least {
			t.Errorf("CheckTTL(%v, %v) does not name %s: %v (%v)", c.ttl, c.staleness, c.least, e, e.Least)
		}
	}
}

// TestTooLongTTL checks the upper bound. Without it a lifetime of 292 years would be
// accepted, which is a token that never expires.
func TestTooLongTTL(t *testing.T) {
	for _, ttl := range []time.Duration{MaxTTL + 1, 1<<63 - 1} {
		err := CheckTTL(ttl, time.Second)
		var e *TTLError
		if !errors.As(err, &e) || !errors.Is(err, ErrLongTTL) || e.Most != MaxTTL || !strings.Contains(e.Error(), "at most 24h") {
			t.Errorf("CheckTTL(%v): %v", ttl, err)
		}
	}
}

func TestOutlivesCaches(t *testing.T) {
	for ttl, want := range map[time.Duration]bool{16 * time.Second: false, 20*time.Minute - 1: false, 20 * time.Minute: true, MaxTTL: true} {
		if OutlivesCaches(ttl) != want {
			t.Errorf("OutlivesCaches(%v) is not %v", ttl, want)
		}
	}
}

func TestRenewAt(t *testing.T) {
	issued := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var low, high int
	for i := range 2000 {
		id := fmt.Sprintf("sandbox-%d", i)
		at := RenewAt(issued, time.Hour, id)
		if at != RenewAt(issued, time.Hour, id) {
			t.Fatal("the jitter of one sandbox changes")
		}
		share := at.Sub(issued).Seconds() / 3600
		if share < 0.45 || share >= 0.55 {
			t.Fatalf("renewed after %v of the lifetime", share)
		}
		if share < 0.46 {
			low++
		}
		if share > 0.54 {
			high++
		}
	}
	// A tenth of the sandboxes belongs into each outer tenth of the range.
	if low < 100 || high < 100 {
		t.Errorf("%d and %d of 2000 renewals in the outer tenths: not spread out", low, high)
	}
}

func TestDue(t *testing.T) {
	issued := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	at := RenewAt(issued, time.Hour, "a")
	for _, c := range []struct {
		now  time.Time
		want bool
	}{
		{issued, false},
		{at.Add(-1), false},
		{at, true},
		{issued.Add(48 * time.Hour), true},
		{issued.Add(-1), true}, // the clock went back
	} {
		if got := Due(c.now, issued, time.Hour, "a"); got != c.want {
			t.Errorf("Due(issued %+v) = %v", c.now.Sub(issued), got)
		}
	}
}
