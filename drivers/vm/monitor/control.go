package monitor

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/stream"
)

// control is the host's side of the guest's control port. Reading never waits
// for anything but the guest: messages for the monitor go to messages, bytes
// of execs to their sessions' queues.
type control struct {
	log      *slog.Logger
	out      *stream.Writer
	queue    chan func() error // what the monitor itself sends; session bytes bypass it
	messages chan guest.Message

	full atomic.Bool // the last message did not fit into the queue

	mu       sync.Mutex
	sessions map[uint32]*session
	last     uint32
	ended    bool
}

func newControl(log *slog.Logger, port io.Writer) *control {
	c := &control{
		log:      log,
		out:      stream.NewWriter(port),
		queue:    make(chan func() error, 64),
		messages: make(chan guest.Message, 64),
		sessions: map[uint32]*session{},
	}
	go c.write()
	return c
}

// write sends the queue, so that nobody who queues waits for the guest.
func (c *control) write() {
	for send := range c.queue {
		if err := send(); err != nil {
			c.log.Warn("the guest does not take control messages", "error", err)
			return
		}
	}
}

// send queues a message for the guest.
func (c *control) send(m guest.Message) {
	c.enqueue(func() error { return guest.Send(c.out, 0, m) })
}

// frame queues one frame of a session.
func (c *control) frame(kind stream.Kind, session uint32, payload []byte) {
	c.enqueue(func() error { return c.out.Write(kind, session, payload) })
}

// enqueue never waits. A guest that has not taken the last 64 is not well: a
// further one is dropped, and what matters has a deadline of its own.
func (c *control) enqueue(send func() error) {
	select {
	case c.queue <- send:
		c.full.Store(false)
	default:
		if !c.full.Swap(true) {
			c.log.Warn("the guest does not take control messages")
		}
	}
}

// read dispatches what the guest sends until its port ends.
func (c *control) read(port io.Reader) {
	frames := stream.NewReader(port)
	var messages guest.Assembler
	for {
		f, err := frames.Read()
		if err != nil {
			c.end(err)
			return
		}
		if f.Kind != stream.Control {
			c.deliver(f)
			continue
		}
		m, whole, err := messages.Add(f)
		if err != nil { // such a guest is broken, or up to something
			c.end(err)
			return
		}
		if whole {
			c.messages <- m
		}
	}
}

func (c *control) deliver(f stream.Frame) {
	c.mu.Lock()
	s := c.sessions[f.Session]
	c.mu.Unlock()
	if s != nil {
		s.push(f)
	}
}

// end tells all sessions that nothing will come any more.
func (c *control) end(err error) {
	if !errors.Is(err, io.EOF) {
		c.log.Warn("the control port ended", "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, s := range c.sessions {
		s.fail("the sandbox has ended")
	}
	close(c.messages)
}

// open makes a session for one exec.
func (c *control) open() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = c.last%0xffffff + 1
	s := &session{id: c.last, control: c, ready: make(chan struct{}, 1)}
	if c.ended {
		s.fail("the sandbox has ended")
	}
	c.sessions[s.id] = s
	return s
}

// close forgets a session. What the guest still holds back for it may come, and
// is thrown away.
func (c *control) close(s *session) {
	s.mu.Lock()
	if s.paused {
		c.frame(stream.Continue, s.id, nil)
	}
	s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, s.id)
}
