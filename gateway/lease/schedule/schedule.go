package schedule

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

const (
	// workers is how many renewals run at the same time. A renewal is mostly signing and a
	// few system calls.
	workers = 8
	// slowAfter is when a renewal gives its worker's place to the next, so that one that
	// hangs delays no other.
	slowAfter = 100 * time.Millisecond
	// maxSlow bounds how many may hang at the same time. Each may hold a thread.
	maxSlow = 1000
	// longestSleep bounds how late the schedule notices a changed clock without Recheck.
	longestSleep = time.Minute
)

// Schedule runs a function for each key when the key's time has come. It has one heap of
// keys that wait for their time, one of keys that are due, one goroutine that sleeps, and a
// goroutine for each key that runs. Due keys run in the order in which they expire, so after
// a time without a gateway the most urgent come first. Times are the wall clock's. It is safe
// for concurrent use.
type Schedule struct {
	run func(ctx context.Context, key string) // calls Set for the key's next time

	mu      sync.Mutex
	waiting entryHeap         // by time
	due     entryHeap         // by expiry
	entries map[string]*entry // in a heap, or running
	wake    chan struct{}     // capacity 1: the first time or the clock has changed

	places chan struct{} // one per worker
	slow   chan struct{} // one per running renewal
}

// entry is one key. It is in a heap, or it runs and may have its next time already.
type entry struct {
	key     string
	at      time.Time
	expires time.Time  // when it is too late
	heap    *entryHeap // nil while it runs
	index   int        // in heap
	again   bool       // Set was called while it ran
}

// New makes a Schedule that calls run for each key. run may call Set for the key's next
// time.
func New(run func(ctx context.Context, key string)) *Schedule {
	return &Schedule{run: run, entries: map[string]*entry{}, wake: make(chan struct{}, 1),
		waiting: entryHeap{before: func(a, b *entry) bool { return a.at.Before(b.at) }},
		due:     entryHeap{before: func(a, b *entry) bool { return a.expires.Before(b.expires) }},
		places:  make(chan struct{}, workers), slow: make(chan struct{}, workers+maxSlow)}
}

// Set sets key's next time, and when it is too late for it. They replace earlier ones.
func (s *Schedule) Set(key string, at, expires time.Time) {
	at, expires = at.Round(0), expires.Round(0) // the wall clock decides, not the time that the host was awake
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if e == nil {
		e = &entry{key: key}
		s.entries[key] = e
	} else if e.heap == nil {
		e.at, e.expires, e.again = at, expires, true
		return
	} else {
		heap.Remove(e.heap, e.index)
	}
	e.at, e.expires = at, expires
	s.wait(e)
}

// wait puts an entry into the heap that waits. The caller holds s.mu.
func (s *Schedule) wait(e *entry) {
	heap.Push(&s.waiting, e)
	if e.index == 0 {
		s.Recheck()
	}
}

// Has reports whether key has a time, or runs.
func (s *Schedule) Has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[key] != nil
}

// At returns key's time; zero if it has none. While the key runs, that is the time that it
// had, or its next time if Set was called since.
func (s *Schedule) At(key string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[key]; e != nil {
		return e.at
	}
	return time.Time{}
}

// Remove forgets key. A run that is under way goes on.
func (s *Schedule) Remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if e == nil {
		return
	}
	if e.heap != nil {
		heap.Remove(e.heap, e.index)
	}
	delete(s.entries, key)
}

// Recheck makes Serve look at the clock again.
func (s *Schedule) Recheck() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Serve runs due keys until ctx ends. Then it waits for the ones that run.
func (s *Schedule) Serve(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		sleep := s.collect(time.Now())
		if sleep == 0 {
			if !s.begin(ctx, &running) {
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

// collect moves due keys to their heap. It returns 0 if there are any, else for how long
// there are none.
func (s *Schedule) collect(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now = now.Round(0) // strips the monotonic reading, so that the wall clock is compared
	for len(s.waiting.entries) > 0 && !s.waiting.entries[0].at.After(now) {
		heap.Push(&s.due, heap.Pop(&s.waiting))
	}
	switch {
	case len(s.due.entries) > 0:
		return 0
	case len(s.waiting.entries) > 0:
		return min(s.waiting.entries[0].at.Sub(now), longestSleep)
	}
	return longestSleep
}

// take takes the most urgent due key; nil if all were put off meanwhile.
func (s *Schedule) take() *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.due.entries) == 0 {
		return nil
	}
	return heap.Pop(&s.due).(*entry)
}

// begin waits for a worker's place, and there runs the key that is the most urgent then. It
// returns false if ctx has ended.
func (s *Schedule) begin(ctx context.Context, running *sync.WaitGroup) bool {
	for _, place := range []chan struct{}{s.slow, s.places} {
		select {
		case place <- struct{}{}:
		case <-ctx.Done():
			return false
		}
	}
	s.collect(time.Now()) // keys that became due meanwhile may be more urgent
	e := s.take()
	if e == nil {
		<-s.places
		<-s.slow
		return true
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

// end puts e back into the heap if it has a next time. Else it forgets e.
func (s *Schedule) end(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[e.key] != e { // it was removed, and perhaps set anew
		return
	}
	if !e.again {
		delete(s.entries, e.key)
		return
	}
	e.again = false
	s.wait(e)
}

// entryHeap implements heap.Interface. Each entry knows its place in it.
type entryHeap struct {
	entries []*entry
	before  func(a, b *entry) bool
}

func (h *entryHeap) Len() int           { return len(h.entries) }
func (h *entryHeap) Less(i, j int) bool { return h.before(h.entries[i], h.entries[j]) }
func (h *entryHeap) Swap(i, j int) {
	h.entries[i], h.entries[j] = h.entries[j], h.entries[i]
	h.entries[i].index, h.entries[j].index = i, j
}
func (h *entryHeap) Push(x any) {
	e := x.(*entry)
	e.heap, e.index = h, len(h.entries)
	h.entries = append(h.entries, e)
}
func (h *entryHeap) Pop() any {
	last := len(h.entries) - 1
	e := h.entries[last]
	h.entries[last] = nil
	h.entries = h.entries[:last]
	e.heap = nil
	return e
}
