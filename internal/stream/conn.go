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
	// MaxSessions is how many sessions of a Conn may be open at a time. Together with Window
	// it bounds a Conn's memory.
	MaxSessions = 256

	frameCost  = 64             // of credit: a frame's header, and the struct that keeps it
	legacyRoom = 8 << 20        // bytes from an old peer that wait here before it has to wait
	maxQueued  = 2 * MaxMessage // bytes of control messages that wait to be written
)

// Options say what a Conn is.
type Options struct {
	// Process is true if the processes are on this side, and the users on the other.
	Process bool
	// Credit is true if the other side gives and heeds credit. Without credit there is one
	// session, and a consumer that does not read holds up the whole connection.
	Credit bool
	// Message gets each control message. It runs on the reading loop, so it must not wait.
	// data is valid until it returns. Its error ends the connection. If it is nil, a message
	// breaks the protocol.
	Message func(session uint32, data []byte) error
	// MaxMessage bounds a message from the other side, in bytes.
	MaxMessage int
}

// Conn carries sessions over one connection. Its memory is bounded by MaxSessions times what
// a session may hold, and by MaxMessage. Only this side opens or accepts sessions. All
// methods are safe for concurrent use.
type Conn struct {
	rwc io.ReadWriteCloser
	opt Options

	mu       sync.Mutex
	sessions map[uint32]*Session
	last     uint32 // the last number that Open has tried
	zero     bool   // session 0 was opened
	wrapped  bool   // Open has used all numbers
	err      error  // why nothing is read any more

	out     sync.Cond   // signals that there is a frame to write, or that writing has ended
	idle    sync.Cond   // signals that all is written, or that writing has ended
	urgent  []*outFrame // goes before data
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

// New makes a Conn of a connection, and takes over the connection. Sessions can be opened at
// once. Nothing is read before Run is called.
func New(rwc io.ReadWriteCloser, opt Options) *Conn {
	c := &Conn{rwc: rwc, opt: opt, sessions: map[uint32]*Session{}}
	c.out.L, c.idle.L = &c.mu, &c.mu
	go c.write()
	return c
}

// Single makes a Conn whose only session is 0, and runs it.
func Single(rwc io.ReadWriteCloser, opt Options) (*Conn, *Session) {
	c := New(rwc, opt)
	s, err := c.Accept(0)
	if err != nil {
		panic(err) // a new Conn has room
	}
	go c.Run()
	return c, s
}

// Open makes a session with a free number, which is never 0.
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

// Accept makes the session with a number that the other side chose, or that both know.
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

// Run is the reading loop. It returns when the connection ends, and ends its sessions. The
// error wraps ErrHangup or is a *ProtocolError, Message's error, or ErrClosed after Close.
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
	// Frames for a session that has ended were under way.
	never := f.Session > c.last && !c.wrapped || f.Session == 0 && !c.zero
	if never && !c.opt.Process {
		return broken("a frame for session %d, which was never opened", f.Session)
	}
	return nil
}

// Send queues v as a control message. It never waits. It fails if more than maxQueued bytes
// of messages would wait to be written.
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

// overtake queues f before all data.
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

// Close hangs up. Frames that are not written yet may be lost: call Flush first.
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

// write is the writing loop. After an error it stops writing only: there may still be
// something to read, so Run decides when the connection has ended.
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

// next waits for the next frame to write; nil means the end.
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

// leave subtracts a frame from what its sender has queued.
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
