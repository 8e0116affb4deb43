package stream

import (
	"bytes"
	"context"
)

// Send sends p as bytes of the given kind. It waits for the credit and the room that this
// needs. When it returns nil, p is queued; Conn.Flush waits until it is written.
func (s *Session) Send(ctx context.Context, kind Kind, p []byte) error {
	for len(p) > 0 {
		n, err := s.sendSome(ctx, kind, p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (s *Session) sendSome(ctx context.Context, kind Kind, p []byte) (int, error) {
	defer s.wakeWith(ctx)()
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	for {
		switch n := s.sendable(len(p)); {
		case s.err != nil:
			return 0, s.err
		case s.conn.unsent != nil:
			return 0, s.conn.unsent
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case n > 0 && s.queued < sendAhead:
			if s.conn.opt.Credit {
				s.credit -= frameCost + n
			}
			s.queued++
			s.queue(kind, bytes.Clone(p[:n]))
			return n, nil
		}
		s.changed.Wait()
	}
}

// sendable returns how many of n bytes may go in one frame now. It returns 0 rather than a
// few.
func (s *Session) sendable(n int) int {
	n = min(n, MaxPayload)
	if !s.conn.opt.Credit {
		return n
	}
	room := s.credit - frameCost
	if room < min(n, MaxPayload/8) {
		return 0
	}
	return min(n, room)
}

// queue queues a frame after all others.
func (s *Session) queue(kind Kind, payload []byte) {
	if s.conn.unsent == nil {
		s.conn.data = append(s.conn.data, &outFrame{s, kind, s.id, payload})
		s.conn.out.Signal()
	}
}

// overtake queues a frame before all bytes that wait. Of a signal only one waits at a time,
// a size replaces one that waits, and credit is added to credit that waits. So the queue
// stays bounded.
func (s *Session) overtake(kind Kind, payload []byte) {
	for _, f := range s.conn.urgent {
		if f.session != s || f.kind != kind {
			continue
		}
		switch kind {
		case Credit:
			had, _ := decodeCredit(f.payload)
			more, _ := decodeCredit(payload)
			f.payload = encodeCredit(had + more)
			return
		case Resize:
			f.payload = payload
			return
		case Signal:
			if bytes.Equal(f.payload, payload) {
				return
			}
		}
	}
	s.conn.overtake(&outFrame{s, kind, s.id, payload})
}

// CloseInput tells the process that its input has ended, after all bytes that were sent.
func (s *Session) CloseInput() { s.locked(func() { s.queue(StdinClose, nil) }) }

// Signal sends the process a signal. It overtakes the bytes that wait to be sent.
func (s *Session) Signal(number int) {
	s.locked(func() { s.overtake(Signal, []byte{byte(number)}) })
}

// Resize tells the process the size of its window. It overtakes the bytes that wait to be
// sent.
func (s *Session) Resize(size Size) {
	s.locked(func() { s.overtake(Resize, EncodeSize(size.Rows, size.Cols)) })
}

// Exit sends the exit code as the session's last frame, after all bytes.
func (s *Session) Exit(code int) { s.last(Exit, EncodeExit(code)) }

// Fail sends text, cut to MaxPayload, as the session's last frame. The text says why there
// is no exit code.
func (s *Session) Fail(text []byte) { s.last(Error, text[:min(len(text), MaxPayload)]) }

// Last sends another session's last frame as this one's.
func (s *Session) Last(f Frame) { s.last(f.Kind, f.Payload) }

func (s *Session) last(kind Kind, payload []byte) {
	s.locked(func() {
		s.over = true
		s.queue(kind, payload)
	})
}
