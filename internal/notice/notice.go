// Package notice lets many goroutines wait for the next event of something with a name.
//
// What is promised: whoever waits before a notice gets it, once. Telling it never blocks.
//
// What is not promised: a notice is not kept. Whoever begins to wait after it waits for the
// next one.
package notice

import "sync"

// Board passes notices on. The zero value is ready for use. It is safe for concurrent use.
type Board[T any] struct {
	mu      sync.Mutex
	waiting map[string]map[chan T]struct{}
}

// Await returns a channel that gets the next notice about name. The caller has to call done,
// which ends the wait.
func (b *Board[T]) Await(name string) (next <-chan T, done func()) {
	c := make(chan T, 1) // so that Tell does not block
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting = map[string]map[chan T]struct{}{}
	}
	if b.waiting[name] == nil {
		b.waiting[name] = map[chan T]struct{}{}
	}
	b.waiting[name][c] = struct{}{}
	return c, func() { b.leave(name, c) }
}

func (b *Board[T]) leave(name string, c chan T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting[name], c)
	if len(b.waiting[name]) == 0 {
		delete(b.waiting, name)
	}
}

// Tell sends notice to all who wait for one about name.
func (b *Board[T]) Tell(name string, notice T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.waiting[name] {
		c <- notice
	}
	delete(b.waiting, name)
}

// Waiting returns how many wait for a notice about name.
func (b *Board[T]) Waiting(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting[name])
}
