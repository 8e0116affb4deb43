package stream

import (
	"bytes"
	"context"
	"sync"
)

// Session is one process's streams on a Conn. Its methods are safe for concurrent use. The
// caller has to Close it.
type Session struct {
	conn *Conn
	id   uint32
	done chan struct{}

	signals chan int
	sizes   chan Size

	// conn.mu guards all below; changed signals changes of it.
	changed sync.Cond
	err     error // why it ended, before its last frame or by Close

	got       []chunk
	held      int  // cost of got; used without credit only
	granted   int  // what the other side may still send
	owed      int  // what the consumer has taken, and was not given back yet
	discard   bool // bytes from the other side are thrown away
	inputOver bool // StdinClose has come
	over      bool // the last frame was received or queued

	credit int // what this side may still send
	queued int // frames of this session that wait to be written
}

// chunk is bytes that wait for their consumer, or a StdinClose, Exit or Error.
type chunk struct {
	kind Kind
	data []byte
	cost int
}

// sendAhead is how many frames of a session may wait to be written at a time.
const sendAhead = 2

// maxSignals is how many signals may wait for the process. Further ones are dropped: they
// tell a process nothing new.
const maxSignals = 64

func newSession(c *Conn, id uint32) *Session {
	s := &Session{
		conn: c, id: id, done: make(chan struct{}), granted: Window, credit: Window,
		signals: make(chan int, maxSignals), sizes: make(chan Size, 1),
	}
	s.changed.L = &c.mu
	return s
}

// ID returns the session's number on the wire.
func (s *Session) ID() uint32 { return s.id }

// Done is closed when the other side is gone or has given the session up, or this side has
// closed it. There may still be something to read.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why Done is closed; nil before.
func (s *Session) Err() error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.err
}

// Signals gets the client's signals for the process.
func (s *Session) Signals() <-chan int { return s.signals }

// Sizes gets the client's window sizes. A new one replaces one that nobody has taken.
func (s *Session) Sizes() <-chan Size { return s.sizes }

// take handles a frame. The reading loop calls it, with conn.mu held.
func (s *Session) take(f Frame) error {
	if s.over && f.Kind != Credit && f.Kind != Abort && !s.conn.opt.Process {
		return nil // nothing comes after a last frame
	}
	if wrongWay(f.Kind, s.conn.opt.Process) {
		return broken("a frame of kind %d in session %d from the wrong side", f.Kind, s.id)
	}
	switch f.Kind {
	case Stdin, Stdout, Stderr:
		return s.takeBytes(f)
	case StdinClose:
		if !s.inputOver {
			s.inputOver = true
			s.push(chunk{kind: f.Kind})
		}
	case Exit, Error:
		s.over = true
		s.push(chunk{kind: f.Kind, data: bytes.Clone(f.Payload)})
	case Signal:
		s.takeSignal(f.Payload)
	case Resize:
		s.takeSize(f.Payload)
	case Credit:
		return s.takeCredit(f.Payload)
	case Abort:
		s.got = nil
		s.end(&AbortError{string(f.Payload)})
	}
	return nil
}

func wrongWay(k Kind, toProcess bool) bool {
	switch k {
	case Stdin, StdinClose, Signal, Resize:
		return !toProcess
	case Stdout, Stderr, Exit, Error:
		return toProcess
	}
	return false
}

// takeBytes keeps bytes for the consumer. It waits only without credit, for an old peer.
func (s *Session) takeBytes(f Frame) error {
	cost := frameCost + len(f.Payload)
	if !s.conn.opt.Credit {
		for s.held+cost > legacyRoom && s.err == nil && !s.discard {
			s.changed.Wait()
		}
	} else if s.granted -= cost; s.granted < 0 {
		return broken("session %d: %d bytes more than there was room for", s.id, -s.granted)
	}
	if s.discard || s.err != nil || s.inputOver {
		s.giveBack(cost)
		return nil
	}
	s.held += cost
	if n := len(s.got); n > 0 && s.got[n-1].kind == f.Kind && len(s.got[n-1].data)+len(f.Payload) <= MaxPayload {
		s.got[n-1].data, s.got[n-1].cost = append(s.got[n-1].data, f.Payload...), s.got[n-1].cost+cost
		return nil
	}
	s.push(chunk{f.Kind, bytes.Clone(f.Payload), cost})
	return nil
}

func (s *Session) push(c chunk) {
	s.got = append(s.got, c)
	s.changed.Broadcast()
}

// giveBack gives credit back to the other side, once it is enough to be worth a frame.
func (s *Session) giveBack(cost int) {
	s.owed += cost
	if s.conn.opt.Credit && s.owed >= Window/2 && s.err == nil {
		s.granted += s.owed
		s.overtake(Credit, encodeCredit(s.owed))
		s.owed = 0
	}
}

func (s *Session) takeSignal(p []byte) {
	if len(p) == 1 {
		select {
		case s.signals <- int(p[0]):
		default:
		}
	}
}

func (s *Session) takeSize(p []byte) {
	rows, cols, err := DecodeSize(p)
	if err != nil {
		return
	}
	select {
	case <-s.sizes:
	default:
	}
	s.sizes <- Size{Rows: rows, Cols: cols} // there is room: only the reading loop sends
}

func (s *Session) takeCredit(p []byte) error {
	n, err := decodeCredit(p)
	if err != nil || n > Window-s.credit {
		return broken("session %d: credit for more than the window", s.id)
	}
	s.credit += n
	s.changed.Broadcast()
	return nil
}

// end ends the session in both directions. The caller holds conn.mu.
func (s *Session) end(why error) {
	if s.err != nil {
		return
	}
	s.err = why
	close(s.done)
	s.changed.Broadcast()
}

// Next waits for the next frame: bytes, StdinClose, Exit or Error. Frames that came before a
// hang-up come before its error. The payload belongs to the caller.
func (s *Session) Next(ctx context.Context) (Frame, error) {
	defer s.wakeWith(ctx)()
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	for len(s.got) == 0 {
		if s.err != nil {
			return Frame{}, s.err
		}
		if ctx.Err() != nil {
			return Frame{}, ctx.Err()
		}
		s.changed.Wait()
	}
	c := s.got[0]
	s.got[0] = chunk{}
	s.got = s.got[1:]
	if s.held -= c.cost; !s.conn.opt.Credit {
		s.changed.Broadcast()
	}
	s.giveBack(c.cost)
	return Frame{Kind: c.kind, Session: s.id, Payload: c.data}, nil
}

// wakeWith signals changed when ctx ends.
func (s *Session) wakeWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		s.conn.mu.Lock()
		defer s.conn.mu.Unlock()
		s.changed.Broadcast()
	})
}

// DiscardInput throws away the bytes that wait and all that come later.
func (s *Session) DiscardInput() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.discard = true
	for _, c := range s.got {
		s.giveBack(c.cost)
	}
	s.got, s.held = nil, 0
	s.changed.Broadcast()
}

func (s *Session) locked(f func()) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.err == nil {
		f()
	}
}

// Abort gives the session up. The other side's Done closes, with an AbortError that has the
// reason. Both sides throw away what is unread or unsent.
func (s *Session) Abort(reason string) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.err == nil && !s.over {
		s.unqueue()
		if s.conn.opt.Credit {
			s.overtake(Abort, []byte(reason[:min(len(reason), MaxPayload)]))
		}
	}
	s.forget()
}

// Close gives the session up if it has not ended, and frees its number.
func (s *Session) Close() { s.Abort("the other side gave the session up") }

func (s *Session) forget() {
	s.end(ErrClosed)
	s.got = nil
	if s.conn.sessions[s.id] == s {
		delete(s.conn.sessions, s.id)
	}
}

// unqueue drops the session's frames that wait to be written.
func (s *Session) unqueue() {
	var others []*outFrame
	for _, f := range s.conn.data {
		if f.session != s {
			others = append(others, f)
		}
	}
	s.conn.data, s.queued = others, 0
}
