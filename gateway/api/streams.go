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

// ErrStreamLost says that the gateway closed a stream without a last frame:
// it ended, the sandbox goes on. The errors that wrap it are *Error, too.
var ErrStreamLost = errors.New("the gateway closed the stream before the command had ended")

// lost is what Attach and Exec return then.
func lost() error {
	return fmt.Errorf("%w%w", ErrStreamLost, &Error{Code: CodeInternal,
		Hint: "the sandbox goes on: see openshell-vm ps, and attach again"})
}

// Streams are the caller's ends of a sandbox's standard streams. Nil fields
// are not connected. The caller owns and closes them; a Read of Stdin that
// blocks may outlive the call that used it.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer   // with a terminal, all output is on Stdout
	Resize         <-chan Size // window sizes, latest wins; terminal only
	Signals        <-chan int  // signal numbers for the process
}

// Attach connects s to the workload and returns its exit code. It may be
// called before Start: then no output is lost, and connected (may be nil) is
// called once the gateway has taken the attachment, the moment from which Start
// may be called. With replay, output since the last start is given first.
// Cancelling ctx detaches and leaves the sandbox running.
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
	// Signals go by a request of their own: input that the workload doesn't
	// read must not keep an interrupt from it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := s.Signals
	s.Signals = nil
	go forward(ctx, signals, func(sig int) error {
		var refused *Error
		if err := c.Signal(ctx, ref, sig); err != nil && !errors.As(err, &refused) {
			return err
		}
		return nil
	})
	return copyFrames(ctx, conn, s)
}

// Exec runs a further command in a running sandbox and returns its exit code:
// 126 and 127 as container tools give them. Cancelling ctx kills the command.
func (c *Client) Exec(ctx context.Context, ref string, r ExecRequest, s Streams) (exitCode int, err error) {
	conn, err := c.upgrade(ctx, sandboxPath(ref, "exec"), r)
	if err != nil {
		return 0, err
	}
	return copyFrames(ctx, conn, s)
}

// Logs writes the workload's stored output and, with follow, goes on until the
// sandbox stops or ctx ends.
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
	_, ended, err := receive(stream.NewReader(bufio.NewReader(body)), Streams{Stdout: stdout, Stderr: stderr})
	if err == nil && !ended {
		err = lost()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// upgrade posts in and takes the connection over. Once the gateway has
// switched protocols, the connection carries frames only and is the caller's.
func (c *Client) upgrade(ctx context.Context, path string, in any) (io.ReadWriteCloser, error) {
	request, err := newRequest(ctx, "POST", path, in)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", UpgradeProtocol)
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
	return upgraded{conn, buffered}, nil
}

func exchange(conn net.Conn, buffered *bufio.Reader, request *http.Request) (*http.Response, error) {
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(buffered, request)
}

// upgraded reads through the buffer that the HTTP response was read with.
type upgraded struct {
	net.Conn
	buffered *bufio.Reader
}

func (u upgraded) Read(p []byte) (int, error) { return u.buffered.Read(p) }

// copyFrames serves one session until its last frame, and closes conn.
func copyFrames(ctx context.Context, conn io.ReadWriteCloser, s Streams) (exitCode int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { conn.Close() })
	w := stream.NewWriter(conn)
	go sendInput(w, s.Stdin)
	go forward(ctx, s.Resize, func(size Size) error {
		return w.Write(stream.Resize, 0, stream.EncodeSize(size.Rows, size.Cols))
	})
	go forward(ctx, s.Signals, func(sig int) error { return w.Write(stream.Signal, 0, []byte{byte(sig)}) })

	exitCode, ended, err := receive(stream.NewReader(conn), s)
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err == nil && !ended, errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return 0, lost()
	}
	return exitCode, err
}

// receive writes output frames to s until the session's last frame, or until
// the stream ends without one.
func receive(frames *stream.Reader, s Streams) (exitCode int, ended bool, err error) {
	for {
		frame, err := frames.Read()
		if err == io.EOF {
			return 0, false, nil
		} else if err != nil {
			return 0, false, err
		}
		switch frame.Kind {
		case stream.Stdout:
			err = write(s.Stdout, frame.Payload)
		case stream.Stderr:
			err = write(s.Stderr, frame.Payload)
		case stream.Exit:
			exitCode, err = stream.DecodeExit(frame.Payload)
			return exitCode, true, err
		case stream.Error:
			return 0, true, DecodeError(frame.Payload)
		}
		if err != nil {
			return 0, false, fmt.Errorf("write the sandbox's output: %w", err)
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

// sendInput copies stdin into frames and says when it ends.
func sendInput(w *stream.Writer, stdin io.Reader) {
	if stdin == nil {
		return
	}
	if _, err := io.Copy(w.To(stream.Stdin, 0), stdin); err != nil {
		return
	}
	_ = w.Write(stream.StdinClose, 0, nil) // the connection may be closed: then receive says so
}

// forward sends each value until the channel or ctx ends, or send fails.
func forward[T any](ctx context.Context, values <-chan T, send func(T) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case v, ok := <-values:
			if !ok || send(v) != nil {
				return
			}
		}
	}
}

// EncodeError is the payload of an Error frame between gateway and client:
// an Error as JSON.
func EncodeError(e *Error) []byte {
	data, err := json.Marshal(e)
	if err != nil {
		return []byte(e.Message)
	}
	return data
}

// DecodeError reads what EncodeError wrote; any other text becomes a message.
func DecodeError(payload []byte) *Error {
	e := &Error{}
	if err := json.Unmarshal(payload, e); err != nil || e.Message == "" {
		return &Error{Code: CodeInternal, Message: string(payload)}
	}
	return e
}
