package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"openshell-vm/internal/stream"
)

// ErrStreamLost means that the gateway has ended, and the sandbox goes on: the gateway closed
// a stream without a last frame, or gave no answer. Errors that wrap it are *Error, too.
var ErrStreamLost = errors.New("the gateway closed the stream before the command had ended")

// lostStream is an *Error that wraps ErrStreamLost.
type lostStream struct{ answer *Error }

func (l lostStream) Error() string        { return l.answer.Message }
func (l lostStream) Unwrap() error        { return l.answer }
func (l lostStream) Is(target error) bool { return target == ErrStreamLost }

func lost() error {
	return lostStream{&Error{Code: CodeInternal, Message: ErrStreamLost.Error(),
		Hint: "the sandbox goes on: see openshell-vm ps, and attach again"}}
}

// Streams are the caller's ends of a sandbox's standard streams.
type Streams = stream.Streams

// Attach connects s to the workload and returns its exit code. Attach calls connected, which
// may be nil, once the gateway has accepted the attachment. If Start is called after that, no
// output is lost. With replay, the output since the last start comes first. Cancelling ctx
// detaches and leaves the sandbox running.
func (c *Client) Attach(ctx context.Context, ref string, replay bool, s Streams, connected func()) (exitCode int, err error) {
	path := sandboxPath(ref, "attach")
	if replay {
		path += "?replay=1"
	}
	conn, err := c.upgrade(ctx, path, nil)
	if err != nil {
		return 0, err
	}
	if connected != nil {
		connected()
	}
	// Signals go by requests of their own. So they reach a workload to which the driver has
	// not connected yet. With an old gateway they also reach one that does not read its input.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := s.Signals
	s.Signals = nil
	go c.forward(ctx, ref, signals)
	return converse(ctx, conn, s)
}

// Exec runs a command in a running sandbox and returns its exit code. As with container
// tools, it is 126 or 127 if the command can't be run. Cancelling ctx kills the command.
func (c *Client) Exec(ctx context.Context, ref string, r ExecRequest, s Streams) (exitCode int, err error) {
	conn, err := c.upgrade(ctx, sandboxPath(ref, "exec"), r)
	if err != nil {
		return 0, err
	}
	return converse(ctx, conn, s)
}

// Logs writes the workload's stored output. With follow it goes on until the sandbox stops or
// ctx ends.
func (c *Client) Logs(ctx context.Context, ref string, follow bool, stdout, stderr io.Writer) error {
	path := sandboxPath(ref, "logs")
	if follow {
		path += "?follow=1"
	}
	body, err := c.send(ctx, "GET", path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	err = receive(stream.NewReader(bufio.NewReader(body)), stdout, stderr)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// receive writes output until the answer's last frame.
func receive(frames *stream.Reader, stdout, stderr io.Writer) error {
	for {
		frame, err := frames.Read()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
			return lost()
		case err != nil:
			return err
		case frame.Kind == stream.Stdout:
			err = write(stdout, frame.Payload)
		case frame.Kind == stream.Stderr:
			err = write(stderr, frame.Payload)
		case frame.Kind == stream.Exit:
			return nil
		case frame.Kind == stream.Error:
			return DecodeError(frame.Payload)
		}
		if err != nil {
			return fmt.Errorf("write the sandbox's output: %w", err)
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

// upgrade posts in and returns the connection. The gateway has switched protocols then, and
// the connection carries only frames. The caller closes it.
func (c *Client) upgrade(ctx context.Context, path string, in any) (*upgraded, error) {
	request, err := newRequest(ctx, "POST", path, in)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", UpgradeProtocol)
	request.Header.Set(StreamHeader, StreamCredit)
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	buffered := bufio.NewReader(conn)
	response, err := exchange(conn, buffered, request)
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unwrapURL(&url.Error{Op: "POST", URL: path, Err: err})
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		defer conn.Close()
		return nil, readError(response)
	}
	return &upgraded{conn, buffered, response.Header.Get(StreamHeader) == StreamCredit}, nil
}

func exchange(conn net.Conn, buffered *bufio.Reader, request *http.Request) (*http.Response, error) {
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(buffered, request)
}

// upgraded reads through the buffer with which the HTTP response was read.
type upgraded struct {
	net.Conn
	buffered *bufio.Reader
	credit   bool // the gateway gives and heeds credit
}

func (u *upgraded) Read(p []byte) (int, error) { return u.buffered.Read(p) }

// converse serves one session until its last frame, and closes conn.
func converse(ctx context.Context, conn *upgraded, s Streams) (exitCode int, err error) {
	c, session := stream.Single(conn, stream.Options{Credit: conn.credit})
	defer c.Close()
	last, err := session.Connect(ctx, s)
	var ours *stream.OutputError
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.As(err, &ours):
		return 0, fmt.Errorf("write the sandbox's output: %w", ours.Err)
	case errors.Is(err, stream.ErrHangup):
		return 0, lost()
	case err != nil:
		return 0, err
	case last.Kind == stream.Error:
		return 0, DecodeError(last.Payload)
	}
	return stream.DecodeExit(last.Payload)
}

// forward sends each signal until ctx ends or the gateway can't be reached.
func (c *Client) forward(ctx context.Context, ref string, signals <-chan int) {
	for {
		select {
		case <-ctx.Done():
			return
		case sig, ok := <-signals:
			if !ok {
				return
			}
			var refused *Error
			if err := c.Signal(ctx, ref, sig); err != nil && !errors.As(err, &refused) {
				return
			}
		}
	}
}

// EncodeError returns the payload of an Error frame between gateway and client: e as JSON.
func EncodeError(e *Error) []byte {
	data, err := json.Marshal(e)
	if err != nil {
		return []byte(e.Message)
	}
	return data
}

// DecodeError reads what EncodeError wrote. Any other text becomes a message.
func DecodeError(payload []byte) *Error {
	e := &Error{}
	if err := json.Unmarshal(payload, e); err != nil || e.Message == "" {
		return &Error{Code: CodeInternal, Message: string(payload)}
	}
	return e
}
