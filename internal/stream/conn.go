package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	// Window is how many bytes may be under way or unread in one direction of a session.
	Window = 256 << 10
	// MaxSessions of one Conn are open at a time; with Window it bounds a Conn's memory.
	MaxSessions = 256

	frameCost  = 64      // of credit: a frame's header, and the struct that keeps it
	legacyRoom = 8 << 20 // bytes that wait for a consumer before an old peer's socket does
	maxQueued  = 2 * MaxMessage
)

// Options say what a Conn is.
type Options struct {
	// Process says that the processes are on this side, and the users on the other.
	Process bool
	// Credit says that the other side gives and heeds credit. Without, there is
	// one session, and a consumer that waits holds the whole connection up.
	Credit bool
	// Message gets each control message, on the reading loop: it must not wait. data is
	// valid until it returns. Its error ends the connection. Without it, a message is a breach.
	Message func(session uint32, data []byte) error
	// MaxMessage bounds a message that is taken, in bytes.
	MaxMessage int
}

// Conn carries sessions over one connection. Memory is bounded by MaxSessions
// times what a session may hold, and by MaxMessage; which sessions there are is for
// this side to say. All methods are safe for concurrent use.
type Conn struct {
	rwc io.ReadWriteCloser
	opt Options

	mu       sync.Mutex
	sessions map[uint32]*Session
	last     uint32 // highest number that was opened
	zero     bool   // session 0 was opened
	wrapped  bool   // all numbers were
	err      error  // why nothing is read any more

	out     sync.Cond   // something is to be written, or the end has come
	idle    sync.Cond   // all is written, or never will be
	urgent  []*outFrame // overtakes data
	data    []*outFrame
	control int // bytes of messages in urgent
	writing bool
	unsent  error // why nothing is written any more
}

// outFrame is a frame that waits to be written.
type outFrame struct {
	session *Session // nil for a message
	kind    Kind
	id      uint32
	payload []byte
}

// New makes a Conn of a connection, which is the Conn's from now on. Sessions
// can be opened; what comes is read once Run is called.
func New(rwc io.ReadWriteCloser, opt Options) *Conn {
	c := &Conn{rwc: rwc, opt: opt, sessions: map[uint32]*Session{}}
	c.out.L, c.idle.L = &c.mu, &c.mu
	go c.write()
	return c
}

// Single makes a Conn with session 0 as its only one, and runs it.
func Single(rwc io.ReadWriteCloser, opt Options) (*Conn, *Session) {
	c := New(rwc, opt)
	s, err := c.Accept(0)
	if err != nil {
		panic(err) // a new Conn has room
	}
	go c.Run()
	return c, s
}

// Open makes a session with a number of its own, never 0.
func (c *Conn) Open() (*Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.last++; c.last > 0xffffff {
			c.last, c.wrapped = 1, true
		}
		if c.sessions[c.last] == nil || len(c.sessions) >= MaxSessions {
			return c.add(c.last)
		}
	}
}

// Accept makes the session whose number the other side chose, or that both know.
func (c *Conn) Accept(id uint32) (*Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[id] != nil {
		return nil, fmt.Errorf("session %d is open already", id)
	}
	return c.add(id)
}

func (c *Conn) add(id uint32) (*Session, error) {
	if c.err != nil {
		return nil, c.err
	}
	if len(c.sessions) >= MaxSessions {
		return nil, fmt.Errorf("%d sessions are open already", MaxSessions)
	}
	s := newSession(c, id)
	c.sessions[id], c.zero = s, c.zero || id == 0
	return s, nil
}

// Run is the reading loop. It ends with the connection, whose sessions it ends;
// the error is an ErrHangup or a *ProtocolError.
func (c *Conn) Run() error {
	err := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	for _, s := range c.sessions {
		s.end(c.err)
	}
	c.stopWriting(c.err)
	return c.err
}

func (c *Conn) read() error {
	frames, messages := NewReader(c.rwc), Assembler{Max: c.opt.MaxMessage}
	for {
		f, err := frames.Read()
		switch {
		case errors.As(err, new(*ProtocolError)):
			return err
		case err != nil:
			return fmt.Errorf("%w: %w", ErrHangup, err)
		}
		if f.Kind == Control {
			err = c.message(&messages, f)
		} else {
			err = c.dispatch(f)
		}
		if err != nil {
			return err
		}
	}
}

func (c *Conn) message(messages *Assembler, f Frame) error {
	switch {
	case c.opt.Message == nil:
		return broken("a control message where none belongs")
	case !c.opt.Process && f.Session != 0:
		return broken("a control message in session %d", f.Session)
	}
	data, whole, err := messages.Add(f)
	if err != nil || !whole {
		return err
	}
	return c.opt.Message(f.Session, data)
}

func (c *Conn) dispatch(f Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sessions[f.Session]; s != nil {
		return s.take(f)
	}
	// What comes for a session that has ended was under way.
	never := f.Session > c.last && !c.wrapped || f.Session == 0 && !c.zero
	if never && !c.opt.Process {
		return broken("a frame for session %d, which was never opened", f.Session)
	}
	return nil
}

// Send queues v as a control message. It never waits: a side that has not taken
// maxQueued bytes of them gets no more, and that is the error.
func (c *Conn) Send(session uint32, v any) error {
	data, err := encodeMessage(v)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.unsent != nil:
		return c.unsent
	case c.control+len(data) > maxQueued:
		return errors.New("the other side takes no messages")
	}
	c.control += len(data)
	c.overtake(&outFrame{kind: Control, id: session, payload: data})
	return nil
}

// overtake queues f before all bytes.
func (c *Conn) overtake(f *outFrame) {
	if c.unsent == nil {
		c.urgent = append(c.urgent, f)
		c.out.Signal()
	}
}

// Flush waits until all that was sent is written to the connection.
func (c *Conn) Flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.idle.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.unsent == nil && (c.writing || len(c.urgent)+len(c.data) > 0) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.idle.Wait()
	}
	return c.unsent
}

// Close hangs up. What Flush has not waited for may be lost.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.err == nil {
		c.err = ErrClosed
	}
	for _, s := range c.sessions {
		s.end(c.err)
	}
	c.stopWriting(c.err)
	c.mu.Unlock()
	return c.rwc.Close()
}

// write is the writing loop. A connection that takes nothing any more may still
// have something to read: its end is Run's to tell.
func (c *Conn) write() {
	out := NewWriter(c.rwc)
	for f := c.next(); f != nil; f = c.next() {
		err := out.Write(f.kind, f.id, f.payload)
		c.mu.Lock()
		if err != nil {
			c.stopWriting(fmt.Errorf("%w: %w", ErrHangup, err))
		}
		c.mu.Unlock()
	}
}

// next waits for the next frame to write; nil is the end.
func (c *Conn) next() (f *outFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = false
	for {
		switch {
		case c.unsent != nil:
			return nil
		case len(c.urgent) > 0:
			f, c.urgent = c.urgent[0], c.urgent[1:]
		case len(c.data) > 0:
			f, c.data = c.data[0], c.data[1:]
		default:
			c.idle.Broadcast()
			c.out.Wait()
			continue
		}
		c.writing = true
		f.leave(c)
		return f
	}
}

// leave takes a frame out of what its sender has queued.
func (f *outFrame) leave(c *Conn) {
	switch {
	case f.kind == Control:
		c.control -= len(f.payload)
	case f.kind == Stdin || f.kind == Stdout || f.kind == Stderr:
		f.session.queued--
		f.session.changed.Broadcast()
	}
}

func (c *Conn) stopWriting(why error) {
	if c.unsent != nil {
		return
	}
	c.unsent, c.urgent, c.data = why, nil, nil
	c.out.Broadcast()
	c.idle.Broadcast()
	for _, s := range c.sessions {
		s.changed.Broadcast()
	}
}
