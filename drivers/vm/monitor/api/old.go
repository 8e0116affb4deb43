package api

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/stream"
)

// The guest init of a VM that was started before there was credit queues input, and
// asks its monitor to hold more back once 128 KiB wait. When as much again is under way
// by then, that may be misunderstood: the input ends after 8 MiB, without a word. So
// little of an exec's input is under way at a time:
//
//  1. a piece is sent
//  2. the monitor has read it: nothing of it is left in the connection
//  3. the guest init has it: it has refused an exec without a command, which was
//     behind the piece on the same port
//  4. the next piece
//
// The workload's input has a port of its own, and no such sign. Its client is told.
const (
	oldPiece = 32 << 10 // a monitor holds as much again
	oldLimit = 8 << 20
)

const oldWarning = "openshell-vm: an older version started this sandbox: it may lose input from here on; start it again to be sure\n"

// spare makes of a client's input what an older VM takes whole.
func (c *Client) spare(ctx context.Context, conn *stream.Conn, r StreamRequest, s stream.Streams) io.Reader {
	if r.Exec != nil {
		return &paced{ctx: ctx, r: s.Stdin, client: c, conn: conn}
	}
	return &warned{r: s.Stdin, w: s.Stderr}
}

// warned tells once that there is more input than an older VM may take.
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

// paced is the input of an exec in an older VM.
type paced struct {
	ctx    context.Context
	r      io.Reader
	client *Client
	conn   *stream.Conn
	sent   int // of the piece
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

// unread is how many bytes the monitor has not read yet.
func (c *Client) unread() (n int, err error) {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	return n, errors.Join(raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }), err)
}

// barrier has the guest init refuse an exec.
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
