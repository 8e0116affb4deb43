package api

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/stream"
)

// A VM that was started before there was credit has an old guest init. That init queues
// input, and asks its monitor to hold back more once 128 KiB wait. If as much again is
// under way by then, the two may misunderstand each other, and the input ends after
// 8 MiB without an error. So this client keeps little of an exec's input under way:
//
//  1. Send a piece.
//  2. Wait until the monitor has read it: nothing of it is left in the connection.
//  3. Wait until the guest init has it: send an exec without a command behind the piece,
//     on the same port, and wait until the init has refused it.
//  4. Send the next piece.
//
// The workload's input has a port of its own, and nothing there tells that the input has
// arrived. So its client gets a warning instead.
const (
	oldPiece = 32 << 10 // bytes; a monitor holds as much again
	oldLimit = 8 << 20  // bytes
)

const oldWarning = "openshell-vm: an older version started this sandbox: it may lose input from here on; start it again to be sure\n"

// spare wraps a client's input so that an old VM loses none of an exec's, and so that
// an attached client is warned.
func (c *Client) spare(ctx context.Context, conn *stream.Conn, r StreamRequest, s stream.Streams) io.Reader {
	if r.Exec != nil {
		return &paced{ctx: ctx, r: s.Stdin, client: c, conn: conn}
	}
	return &warned{r: s.Stdin, w: s.Stderr}
}

// warned writes one warning when there is more input than an old VM is sure to take.
type warned struct {
	r io.Reader
	w io.Writer
	n int64
}

func (w *warned) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	before := w.n
	if w.n += int64(n); before <= oldLimit && w.n > oldLimit && w.w != nil {
		_, _ = io.WriteString(w.w, oldWarning)
	}
	return n, err
}

// paced is the input of an exec in an old VM.
type paced struct {
	ctx    context.Context
	r      io.Reader
	client *Client
	conn   *stream.Conn
	sent   int // bytes of the piece
}

func (p *paced) Read(b []byte) (int, error) {
	if p.sent >= oldPiece {
		if err := p.arrived(); err != nil {
			return 0, err
		}
		p.sent = 0
	}
	n, err := p.r.Read(b[:min(len(b), oldPiece-p.sent)])
	p.sent += n
	return n, err
}

// arrived waits until the guest init has all that was sent.
func (p *paced) arrived() error {
	if err := p.conn.Flush(p.ctx); err != nil {
		return err
	}
	for {
		unread, err := p.client.unread()
		if err != nil {
			return err
		}
		if unread == 0 {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
	}
	return p.client.barrier(p.ctx)
}

// unread returns how many bytes the monitor has not read yet.
func (c *Client) unread() (n int, err error) {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	return n, errors.Join(raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }), err)
}

// barrier sends an exec that the guest init refuses, and waits until it has.
func (c *Client) barrier(ctx context.Context) error {
	other, err := Dial(c.runDir)
	if err != nil {
		return err
	}
	defer other.Close()
	defer context.AfterFunc(ctx, func() { other.Close() })()
	if err := stream.WriteJSON(stream.NewWriter(other.conn), 0, Request{Exec: &ExecRequest{}}); err != nil {
		return err
	}
	for in := stream.NewReader(other.conn); ; {
		f, err := in.Read()
		if err != nil {
			return err
		}
		if f.Kind == stream.Exit || f.Kind == stream.Error {
			return nil
		}
	}
}
