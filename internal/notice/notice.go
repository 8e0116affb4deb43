// Package notice lets many wait for what happens next to something that has a name.
//
// What is promised: who waits before a notice gets it, once, and nobody is waited for.
// What is not: that a notice is kept. Who begins to wait after it waits for the next.
package notice

import "sync"

// Board is where notices are told. The zero value is ready. It is safe for concurrent
// use.
type Board[T any] struct {
	mu      sync.Mutex
	waiting map[string]map[chan T]struct{}
}

// Await gives a channel that gets the next notice about name. done ends the wait, and
// must be called.
func (b *Board[T]) Await(name string) (next <-chan T, done func()) {
	c := make(chan T, 1) // so that Tell does not wait
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

// Tell gives all who wait for a notice about name this one.
func (b *Board[T]) Tell(name string, notice T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.waiting[name] {
		c <- notice
	}
	delete(b.waiting, name)
}

// Waiting is how many wait for a notice about name.
func (b *Board[T]) Waiting(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting[name])
}
