package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/peer"
	"openshell-vm/internal/stream"
)

// Client is a connection to a monitor for one request.
type Client struct {
	conn *net.UnixConn
	in   *stream.Reader
	out  *stream.Writer
}

// Dial connects to the monitor whose socket lies in runDir. A monitor that is
// not there is drivers.ErrNotRunning.
func Dial(runDir string) (*Client, error) {
	conn, err := dial(runDir, SocketFile)
	if errors.Is(err, peer.ErrForeign) {
		return nil, err // whether the monitor runs can't be known
	} else if err != nil {
		return nil, fmt.Errorf("%w (%w)", drivers.ErrNotRunning, err)
	}
	return &Client{conn: conn, in: stream.NewReader(conn), out: stream.NewWriter(conn)}, nil
}

// Close hangs up. An exec is killed by it, the workload is not.
func (c *Client) Close() error { return c.conn.Close() }

// Do sends a request that is answered by one Report.
func (c *Client) Do(ctx context.Context, r Request) (Report, error) {
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := sendJSON(c.out, r); err != nil {
		return Report{}, err
	}
	var answer Report
	if err := readJSON(c.in, &answer); err != nil {
		return answer, fmt.Errorf("the monitor did not answer: %w", errors.Join(err, ctx.Err()))
	}
	if answer.Problem != "" {
		return answer, errorOf(answer.Problem)
	}
	return answer, nil
}

// Stream sends an Attach or Exec request and copies between s and the
// process until it has ended; it returns the exit code. When ctx ends it hangs up.
func (c *Client) Stream(ctx context.Context, r Request, s drivers.Streams) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	if err := sendJSON(c.out, r); err != nil {
		return 0, cmp.Or(ctx.Err(), err)
	}
	if s.Stdin != nil {
		go c.sendInput(s.Stdin)
	}
	go c.sendEvents(ctx, s)
	code, err := c.receive(s)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return code, err
}

// sendInput copies standard input. It ends with the reader or the connection;
// until then it keeps the reader busy, as every copy from a terminal does.
func (c *Client) sendInput(r io.Reader) {
	if _, err := io.Copy(c.out.To(stream.Stdin, 0), r); err == nil {
		c.out.Write(stream.StdinClose, 0, nil)
	}
}

func (c *Client) sendEvents(ctx context.Context, s drivers.Streams) {
	for {
		var err error
		select {
		case size, ok := <-s.Resize:
			if !ok {
				s.Resize = nil
				continue
			}
			err = c.out.Write(stream.Resize, 0, stream.EncodeSize(size.Rows, size.Cols))
		case sig, ok := <-s.Signals:
			if !ok {
				s.Signals = nil
				continue
			}
			err = c.out.Write(stream.Signal, 0, []byte{byte(sig)})
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// receive copies output until the last frame.
func (c *Client) receive(s drivers.Streams) (int, error) {
	for {
		f, err := c.in.Read()
		if err != nil {
			return 0, fmt.Errorf("the monitor hung up: %w", err)
		}
		switch f.Kind {
		case stream.Stdout:
			err = write(s.Stdout, f.Payload)
		case stream.Stderr:
			err = write(s.Stderr, f.Payload)
		case stream.Exit:
			return stream.DecodeExit(f.Payload)
		case stream.Error:
			return 0, errorOf(string(f.Payload))
		}
		if err != nil {
			return 0, err
		}
	}
}

func write(w io.Writer, p []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(p)
	return err
}

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
