package monitor

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"openshell-vm/internal/stream"
)

// How many bytes of an exec's output wait for a slow client: at pauseAt the
// guest is asked to hold the process back, at continueAt to go on; a guest that
// sends on to queueLimit loses that exec.
const (
	pauseAt    = 1 << 20
	continueAt = 256 << 10
	queueLimit = 64 << 20
)

// session is one exec's queue between the control port and its client.
type session struct {
	id      uint32
	control *control
	ready   chan struct{} // has room for one: something was queued

	mu     sync.Mutex
	frames []stream.Frame
	bytes  int
	paused bool // the guest was asked to pause us
	held   bool // the guest asked us to hold standard input back
	over   bool // a last frame is queued
	resume chan struct{}
}

// push queues a frame of the guest's. It never waits.
func (s *session) push(f stream.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return
	case f.Kind == stream.Pause:
		s.hold()
		return
	case f.Kind == stream.Continue:
		s.release()
		return
	case s.bytes+len(f.Payload) > queueLimit:
		s.last("the client is too slow for the output")
		s.control.frame(stream.Signal, s.id, []byte{9})
		return
	}
	s.frames = append(s.frames, stream.Frame{Kind: f.Kind, Payload: bytes.Clone(f.Payload)})
	s.bytes += len(f.Payload)
	if f.Kind == stream.Exit || f.Kind == stream.Error {
		s.over = true
		s.release()
	}
	if !s.paused && s.bytes > pauseAt {
		s.paused = true
		s.control.frame(stream.Pause, s.id, nil)
	}
	s.wake()
}

// fail ends the session with an error for the client.
func (s *session) fail(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last(why)
}

func (s *session) last(why string) {
	if s.over {
		return
	}
	s.over = true
	s.release()
	s.frames = append(s.frames, stream.Frame{Kind: stream.Error, Payload: []byte(why)})
	s.wake()
}

func (s *session) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *session) hold() {
	if !s.held {
		s.held, s.resume = true, make(chan struct{})
	}
}

func (s *session) release() {
	if s.held {
		s.held = false
		close(s.resume)
	}
}

// pop waits for the next frame for the client.
func (s *session) pop(ctx context.Context) (stream.Frame, error) {
	for {
		if f, ok := s.take(); ok {
			return f, nil
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return stream.Frame{}, ctx.Err()
		}
	}
}

func (s *session) take() (stream.Frame, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.frames) == 0 {
		return stream.Frame{}, false
	}
	f := s.frames[0]
	s.frames = s.frames[1:]
	s.bytes -= len(f.Payload)
	if s.paused && s.bytes < continueAt {
		s.paused = false
		s.control.frame(stream.Continue, s.id, nil)
	}
	return f, true
}

// stdin passes a client's frame on to the guest, once the guest takes it.
func (s *session) stdin(ctx context.Context, f stream.Frame) error {
	s.mu.Lock()
	wait := s.resume
	held := s.held
	s.mu.Unlock()
	if held && (f.Kind == stream.Stdin || f.Kind == stream.StdinClose) {
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.control.out.Write(f.Kind, s.id, f.Payload); err != nil {
		return fmt.Errorf("pass input on to the guest: %w", err)
	}
	return nil
}
