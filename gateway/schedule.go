package gateway

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

const (
	// workers renew at the same time. A renewal is mostly signing and a few
	// system calls.
	workers = 8
	// slowAfter is when a renewal that takes long gives its worker's place to
	// the next: one that hangs delays nobody.
	slowAfter = 100 * time.Millisecond
	// maxSlow bounds how many may hang at once, each perhaps with a thread.
	maxSlow = 1000
	// longestSleep bounds how late the schedule learns of a changed clock where
	// nothing else tells it.
	longestSleep = time.Minute
)

// schedule runs a function for each key when the key's time has come: one heap,
// one goroutine that sleeps, and goroutines only for what is running. Times are
// the wall clock's. It is safe for concurrent use.
type schedule struct {
	run func(ctx context.Context, key string) // calls set for the key's next time

	mu      sync.Mutex
	due     dueHeap
	entries map[string]*entry
	wake    chan struct{} // capacity 1: the heap's top or the clock has changed

	places chan struct{} // one per worker
	slow   chan struct{} // one per renewal that is running
}

// entry is one key. It stands in the heap, or it is running and has perhaps a
// next time already, or it waits for its next set.
type entry struct {
	key     string
	at      time.Time
	index   int // in the heap, -1 if it is not there
	running bool
	again   bool // set was called while it ran
}

func newSchedule(run func(ctx context.Context, key string)) *schedule {
	return &schedule{run: run, entries: map[string]*entry{}, wake: make(chan struct{}, 1),
		places: make(chan struct{}, workers), slow: make(chan struct{}, workers+maxSlow)}
}

// set gives key its next time, in place of any it had.
func (s *schedule) set(key string, at time.Time) {
	at = at.Round(0) // the wall clock decides, not the time that the host was awake
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if e == nil {
		e = &entry{key: key, index: -1}
		s.entries[key] = e
	}
	e.at = at
	switch {
	case e.running:
		e.again = true
		return
	case e.index < 0:
		heap.Push(&s.due, e)
	default:
		heap.Fix(&s.due, e.index)
	}
	if e.index == 0 {
		s.recheck()
	}
}

// remove forgets key. A run that is under way goes on.
func (s *schedule) remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if e == nil {
		return
	}
	if e.index >= 0 {
		heap.Remove(&s.due, e.index)
	}
	e.again = false
	delete(s.entries, key)
}

// recheck makes serve look at the clock again.
func (s *schedule) recheck() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// serve runs what is due until ctx ends, and then waits for what is running.
func (s *schedule) serve(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		e, sleep := s.next(time.Now())
		if e != nil {
			if !s.begin(ctx, e, &running) {
				return
			}
			continue
		}
		timer.Reset(sleep)
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// next takes the first due entry out of the heap, or says how long there is none.
func (s *schedule) next(now time.Time) (*entry, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.due) == 0 {
		return nil, longestSleep
	}
	// Without its monotonic part, now is compared by the wall clock.
	if wait := s.due[0].at.Sub(now.Round(0)); wait > 0 {
		return nil, min(wait, longestSleep)
	}
	e := heap.Pop(&s.due).(*entry)
	e.running = true
	return e, 0
}

// begin waits for a worker's place and runs e there; false means ctx has ended.
func (s *schedule) begin(ctx context.Context, e *entry, running *sync.WaitGroup) bool {
	for _, place := range []chan struct{}{s.slow, s.places} {
		select {
		case place <- struct{}{}:
		case <-ctx.Done():
			return false
		}
	}
	running.Go(func() {
		var once sync.Once
		leave := func() { once.Do(func() { <-s.places }) }
		timer := time.AfterFunc(slowAfter, leave)
		s.run(ctx, e.key)
		timer.Stop()
		leave()
		<-s.slow
		s.end(e)
	})
	return true
}

// end puts e back into the heap if its next time is known.
func (s *schedule) end(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.running = false
	if !e.again || s.entries[e.key] != e {
		return
	}
	e.again = false
	heap.Push(&s.due, e)
	if e.index == 0 {
		s.recheck()
	}
}

// dueHeap implements heap.Interface, the earliest time first.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *dueHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}
func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}
