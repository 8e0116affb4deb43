package monitor

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"

	"openshell-vm/internal/stream"
)

// guestPort is a port to a guest that takes what it gets; frames are what it got.
func guestPort(t *testing.T) (*control, <-chan stream.Frame) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	frames := make(chan stream.Frame, 100)
	go func() {
		r := stream.NewReader(theirs)
		for {
			f, err := r.Read()
			if err != nil {
				return
			}
			f.Payload = append([]byte{}, f.Payload...)
			frames <- f
		}
	}()
	return newControl(slog.New(slog.NewTextHandler(io.Discard, nil)), ours), frames
}

// A client that reads slowly makes the guest hold that exec back, and no other.
func TestASlowClientPausesItsExec(t *testing.T) {
	c, sent := guestPort(t)
	s := c.open()
	chunk := make([]byte, stream.MaxPayload)
	n := 0
	for ; n*len(chunk) <= pauseAt; n++ {
		s.push(stream.Frame{Kind: stream.Stdout, Payload: chunk})
	}
	if f := await(t, sent); f.Kind != stream.Pause || f.Session != s.id {
		t.Errorf("%+v", f)
	}
	for range n {
		if _, err := s.pop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if f := await(t, sent); f.Kind != stream.Continue || f.Session != s.id {
		t.Errorf("%+v", f)
	}
}

// A guest that sends on all the same costs its exec, not the monitor's memory.
func TestAFloodEndsItsExec(t *testing.T) {
	c, sent := guestPort(t)
	s := c.open()
	chunk := make([]byte, stream.MaxPayload)
	for n := 0; n <= queueLimit; n += len(chunk) {
		s.push(stream.Frame{Kind: stream.Stdout, Payload: chunk})
	}
	await(t, sent) // the pause
	if f := await(t, sent); f.Kind != stream.Signal || f.Payload[0] != 9 {
		t.Errorf("%+v", f)
	}
	last := stream.Frame{}
	for last.Kind != stream.Error {
		f, err := s.pop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		last = f
	}
}

// Input that the exec does not read waits here, and not in the port.
func TestTheGuestHoldsInputBack(t *testing.T) {
	c, sent := guestPort(t)
	s := c.open()
	s.push(stream.Frame{Kind: stream.Pause})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	passed := make(chan error, 1)
	go func() { passed <- s.stdin(ctx, stream.Frame{Kind: stream.Stdin, Payload: []byte("in")}) }()
	if err := s.stdin(ctx, stream.Frame{Kind: stream.Signal, Payload: []byte{2}}); err != nil {
		t.Fatal(err)
	}
	if f := await(t, sent); f.Kind != stream.Signal {
		t.Errorf("%+v came before the signal", f)
	}
	s.push(stream.Frame{Kind: stream.Continue})
	if f := await(t, sent); f.Kind != stream.Stdin || string(f.Payload) != "in" {
		t.Errorf("%+v", f)
	}
	if err := await(t, passed); err != nil {
		t.Error(err)
	}
}
