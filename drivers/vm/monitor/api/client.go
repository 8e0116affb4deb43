package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/peer"
	"openshell-vm/internal/stream"
)

// Client is a connection to a monitor for one request.
type Client struct {
	runDir string
	conn   *net.UnixConn
}

// Dial connects to the monitor whose socket lies in runDir. A monitor that is
// not there is drivers.ErrNotRunning.
func Dial(runDir string) (*Client, error) {
	conn, err := peer.DialIn(context.Background(), runDir, SocketFile)
	if errors.Is(err, peer.ErrForeign) {
		return nil, err // whether the monitor runs can't be known
	} else if err != nil {
		return nil, fmt.Errorf("%w (%w)", drivers.ErrNotRunning, err)
	}
	return &Client{runDir: runDir, conn: conn}, nil
}

// Close hangs up. An exec is killed by it, the workload is not.
func (c *Client) Close() error { return c.conn.Close() }

// Do sends a request that is answered by one Report. A monitor that ends before it
// has taken the connection is drivers.ErrNotRunning, as if it had never listened.
func (c *Client) Do(ctx context.Context, r Request) (Report, error) {
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var answer Report
	err := stream.WriteJSON(stream.NewWriter(c.conn), 0, r)
	if err == nil {
		err = stream.ReadJSON(stream.NewReader(c.conn), &answer)
	}
	switch {
	case err != nil && ctx.Err() == nil && c.gone():
		return answer, fmt.Errorf("%w (%w)", drivers.ErrNotRunning, err)
	case err != nil:
		return answer, fmt.Errorf("the monitor did not answer: %w", errors.Join(err, ctx.Err()))
	}
	if answer.Problem != "" {
		return answer, errorOf(answer.Problem)
	}
	return answer, nil
}

// gone says that nobody listens any more.
func (c *Client) gone() bool {
	again, err := Dial(c.runDir)
	if err == nil {
		again.Close()
	}
	return errors.Is(err, drivers.ErrNotRunning)
}

// Stream asks for a session and copies between s and the process until it has
// ended; it returns the exit code. When ctx ends it hangs up, also while s takes no
// output.
func (c *Client) Stream(ctx context.Context, r StreamRequest, s drivers.Streams) (int, error) {
	defer c.Close()
	credit, err := c.begin(ctx, r)
	if err != nil {
		return 0, cmp.Or(ctx.Err(), err)
	}
	conn, session := stream.Single(c.conn, stream.Options{Credit: credit})
	defer conn.Close() // its sessions, too
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if !credit && s.Stdin != nil {
		s.Stdin = c.spare(ctx, conn, r, s)
	}
	last, err := session.Connect(ctx, s)
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.Is(err, stream.ErrHangup):
		return 0, fmt.Errorf("the monitor hung up: %w", err)
	case err != nil:
		return 0, err
	case last.Kind == stream.Error:
		return 0, errorOf(string(last.Payload))
	}
	return stream.DecodeExit(last.Payload)
}

// begin asks for the session, with credit or as an old monitor knows it.
func (c *Client) begin(ctx context.Context, r StreamRequest) (credit bool, err error) {
	if answer, err := c.Do(ctx, Request{Stream: &r}); answer.Stream {
		return true, nil
	} else if !answer.old() {
		return false, err
	}
	old, err := Dial(c.runDir)
	if err != nil {
		return false, err
	}
	c.conn.Close()
	c.conn = old.conn
	return false, stream.WriteJSON(stream.NewWriter(c.conn), 0, Request{Attach: r.Attach, Exec: r.Exec})
}

// old says that a monitor which was asked for a session knows no Stream request.
func (r Report) old() bool { return r.Problem == UnknownRequest }

// EndedError is why a process has no exit code: its sandbox ended under it, or
// the monitor gave it up.
type EndedError struct{ Reason string }

func (e *EndedError) Error() string { return e.Reason }

// errorOf gives a monitor's text back its type.
func errorOf(text string) error {
	if text == drivers.ErrNotRunning.Error() {
		return drivers.ErrNotRunning
	}
	return &EndedError{text}
}
