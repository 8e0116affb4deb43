// Package events keeps what happened to sandboxes and shares, and tells those who follow.
//
// What is promised: telling never blocks and never fails. A follower gets the events in order.
// One that is too slow is told how many it missed. Memory is bounded, whatever happens.
//
// What is not promised: events do not survive the gateway. Renewals are kept apart from the
// rest, so that many of them push nothing else out.
package events

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"openshell-vm/gateway/api"
)

const (
	// kept is how many events are remembered, and how many renewals beside them.
	kept = 1024
	// ahead is how many events a follower may be behind.
	ahead = 1024
)

// Log is what happened. The zero value is ready for use. It is safe for concurrent use; its
// lock is a leaf.
type Log struct {
	mu        sync.Mutex
	number    uint64
	life      ring
	renewals  ring
	followers map[*Follower]struct{}
}

// Tell notes an event. It sets the event's number, and its time if that is zero.
func (l *Log) Tell(e api.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	l.number++
	e.Number = l.number
	if e.Action == api.EventRenewed {
		l.renewals.add(e)
	} else {
		l.life.add(e)
	}
	for f := range l.followers {
		f.offer(e)
	}
}

// Since returns the remembered events after a moment, in order.
func (l *Log) Since(t time.Time) []api.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since(t)
}

func (l *Log) since(t time.Time) []api.Event {
	all := append(l.life.all(), l.renewals.all()...)
	all = slices.DeleteFunc(all, func(e api.Event) bool { return !e.Time.After(t) })
	slices.SortFunc(all, func(a, b api.Event) int { return cmp.Compare(a.Number, b.Number) })
	return all
}

// Follow returns the events since t, and a follower for all that come after them. The caller
// has to call its Close.
func (l *Log) Follow(t time.Time) ([]api.Event, *Follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &Follower{log: l, events: make(chan api.Event, ahead)}
	if l.followers == nil {
		l.followers = map[*Follower]struct{}{}
	}
	l.followers[f] = struct{}{}
	return l.since(t), f
}

// Follower gets events as they happen.
type Follower struct {
	log    *Log
	events chan api.Event
	missed uint64 // guarded by log.mu
}

// Events is where they come. It is never closed.
func (f *Follower) Events() <-chan api.Event { return f.events }

// offer hands over an event if there is room. The caller holds the log's lock.
func (f *Follower) offer(e api.Event) {
	if f.missed > 0 {
		gap := api.Event{Number: e.Number, Time: e.Time, Kind: api.KindGateway, Action: api.EventMissed,
			Details: map[string]string{"count": strconv.FormatUint(f.missed, 10)}}
		select {
		case f.events <- gap:
			f.missed = 0
		default:
			f.missed++
			return
		}
	}
	select {
	case f.events <- e:
	default:
		f.missed++
	}
}

// Close ends the following.
func (f *Follower) Close() {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	delete(f.log.followers, f)
}

// ring is the last events of a kind.
type ring struct {
	events []api.Event
	next   int // where the next one goes, once there are kept of them
}

func (r *ring) add(e api.Event) {
	if len(r.events) < kept {
		r.events = append(r.events, e)
		return
	}
	r.events[r.next] = e
	r.next = (r.next + 1) % kept
}

// all returns a copy, in no certain order.
func (r *ring) all() []api.Event { return slices.Clone(r.events) }
