package main

import (
	"bytes"
	"io"
	"sync"
)

// Bounds of what waits to be read from standard input, in bytes.
const (
	inboxPause = 128 << 10 // the host is asked to hold back
	inboxLimit = 8 << 20   // the host does not: the input ends
)

// inbox queues a process's standard input, so that a process that does not
// read never blocks the port that others share.
type inbox struct {
	pause, resume func() // ask the host; called without the lock held

	mu     sync.Mutex
	wake   sync.Cond
	queue  [][]byte
	size   int
	paused bool
	ended  bool // nothing is added any more
	broken bool // nobody reads any more
}

// newInbox queues until the process is there to feed.
func newInbox(pause, resume func()) *inbox {
	b := &inbox{pause: pause, resume: resume}
	b.wake.L = &b.mu
	return b
}

// feed writes what is queued to w, until the end of input or w's first error.
func (b *inbox) feed(w io.Writer) {
	for {
		p, resume, ok := b.next()
		if resume {
			b.resume()
		}
		if !ok {
			return
		}
		if _, err := w.Write(p); err != nil {
			b.giveUp()
			return
		}
	}
}

// add queues a copy of p. It never blocks for long; false says that the limit
// has been passed and that the input ends with what was queued.
func (b *inbox) add(p []byte) bool {
	b.mu.Lock()
	if b.ended || b.broken {
		b.mu.Unlock()
		return true
	}
	if b.size+len(p) > inboxLimit {
		b.ended = true
		b.wake.Signal()
		b.mu.Unlock()
		return false
	}
	b.queue = append(b.queue, bytes.Clone(p))
	b.size += len(p)
	ask := !b.paused && b.size >= inboxPause
	b.paused = b.paused || ask
	b.wake.Signal()
	b.mu.Unlock()
	if ask {
		b.pause()
	}
	return true
}

// close ends the input after what is queued.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.wake.Signal()
}

// next waits for something to write. resume says that the queue has become
// empty after the host was asked to hold back.
func (b *inbox) next() (p []byte, resume, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queue) == 0 && !b.ended {
		b.wake.Wait()
	}
	if len(b.queue) == 0 {
		return nil, false, false
	}
	p, b.queue = b.queue[0], b.queue[1:]
	b.size -= len(p)
	resume = b.paused && len(b.queue) == 0
	b.paused = b.paused && !resume
	return p, resume, true
}

// giveUp drops what is queued; what comes later is dropped too.
func (b *inbox) giveUp() {
	b.mu.Lock()
	b.broken, b.queue, b.size = true, nil, 0
	resume := b.paused
	b.paused = false
	b.mu.Unlock()
	if resume {
		b.resume()
	}
}
