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

// Dial connects to the monitor whose socket lies in runDir. Without a monitor the
// error is drivers.ErrNotRunning.
func Dial(runDir string) (*Client, error) {
	conn, err := peer.DialIn(context.Background(), runDir, SocketFile)
	if errors.Is(err, peer.ErrForeign) {
		return nil, err // it says nothing about whether the monitor runs
	} else if err != nil {
		return nil, fmt.Errorf("%w (%w)", drivers.ErrNotRunning, err)
	}
	return &Client{runDir: runDir, conn: conn}, nil
}

// Close hangs up. That kills an exec's command, but not the workload.
func (c *Client) Close() error { return c.conn.Close() }

// Do sends a request that is answered by one Report. If the monitor ends before it
// answers, the error is drivers.ErrNotRunning, as if it had never listened.
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

// gone reports whether nobody listens any more.
func (c *Client) gone() bool {
	again, err := Dial(c.runDir)
	if err == nil {
		again.Close()
	}
	return errors.Is(err, drivers.ErrNotRunning)
}

// Stream asks for a session, copies between s and the process until that has ended, and
// returns its exit code. When ctx ends it hangs up, even while s takes no output.
func (c *Client) Stream(ctx context.Context, r StreamRequest, s drivers.Streams) (int, error) {
	defer c.Close()
	credit, err := c.begin(ctx, r)
	if err != nil {
		return 0, cmp.Or(ctx.Err(), err)
	}
	conn, session := stream.Single(c.conn, stream.Options{Credit: credit})
	defer conn.Close() // and with it the session
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

// begin asks for the session. An old monitor gives one without credit.
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

// old reports whether this answer to a Stream request comes from a monitor that does
// not know the request.
func (r Report) old() bool { return r.Problem == UnknownRequest }

// EndedError says why a process has no exit code: its sandbox ended before it did, or
// the monitor refused it or gave it up.
type EndedError struct{ Reason string }

func (e *EndedError) Error() string { return e.Reason }

// errorOf turns a monitor's text into an error of the right type.
func errorOf(text string) error {
	if text == drivers.ErrNotRunning.Error() {
		return drivers.ErrNotRunning
	}
	return &EndedError{text}
}
