package events

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"openshell-vm/gateway/api"
)

// TestBounded: as many events as there may be do not push out what is rarer than renewals, and
// no more than a bounded number is remembered.
func TestBounded(t *testing.T) {
	var l Log
	l.Tell(api.Event{Action: api.EventCreated, ID: "first"})
	for range 3 * kept {
		l.Tell(api.Event{Action: api.EventRenewed})
	}
	all := l.Since(time.Time{})
	if len(all) != kept+1 || all[0].ID != "first" {
		t.Errorf("%d events, the first is %+v", len(all), all[0])
	}
	for range 3 * kept {
		l.Tell(api.Event{Action: api.EventStarted})
	}
	all = l.Since(time.Time{})
	if len(all) != 2*kept || all[len(all)-1].Number != 6*kept+1 {
		t.Errorf("%d events, the last is %+v", len(all), all[len(all)-1])
	}
	for i := 1; i < len(all); i++ {
		if all[i].Number <= all[i-1].Number {
			t.Fatalf("%d comes after %d", all[i].Number, all[i-1].Number)
		}
	}
	if later := l.Since(time.Now()); len(later) != 0 {
		t.Errorf("%d events are later than now", len(later))
	}
}

// TestFollow: what happened before is handed over once, and what happens then follows, without
// a gap and without a double.
func TestFollow(t *testing.T) {
	var l Log
	var all sync.WaitGroup
	const n = 500
	all.Go(func() {
		for i := range n {
			l.Tell(api.Event{Action: api.EventStarted, ID: fmt.Sprint(i)})
		}
	})
	past, f := l.Follow(time.Time{})
	defer f.Close()
	for len(past) < n {
		past = append(past, <-f.Events())
	}
	all.Wait()
	for i, e := range past {
		if e.ID != fmt.Sprint(i) {
			t.Fatalf("event %d is that of %s", i, e.ID)
		}
	}
}

// TestSlowFollower: one that does not read holds nobody up, and learns how many it missed.
func TestSlowFollower(t *testing.T) {
	var l Log
	_, f := l.Follow(time.Time{})
	for range ahead + 7 {
		l.Tell(api.Event{Action: api.EventStarted})
	}
	for range ahead {
		<-f.Events()
	}
	l.Tell(api.Event{Action: api.EventEnded})
	if e := <-f.Events(); e.Action != api.EventMissed || e.Details["count"] != "7" {
		t.Errorf("after a gap comes %+v", e)
	}
	if e := <-f.Events(); e.Action != api.EventEnded {
		t.Errorf("then comes %+v", e)
	}
	f.Close()
	f.Close() // of no effect
	l.Tell(api.Event{})
	if len(l.followers) != 0 || len(f.events) != 0 {
		t.Error("one that has closed is still told")
	}
}
