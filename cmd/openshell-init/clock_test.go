package main

import (
	"testing"
	"time"
)

// TestStartTime: a root that took long to make does not put the guest's clock back.
func TestStartTime(t *testing.T) {
	answered := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC).UnixNano()
	for since, want := range map[time.Duration]int64{
		0: answered, 40 * time.Second: answered + int64(40*time.Second), -time.Second: answered,
	} {
		if got := startTime(answered, since); got != want {
			t.Errorf("%v after the greeting: %v, wanted %v", since, time.Unix(0, got), time.Unix(0, want))
		}
	}
	if got := startTime(0, time.Hour); got != 0 {
		t.Errorf("a host that tells no time gives %d", got)
	}
}
