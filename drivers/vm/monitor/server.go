package monitor

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/stream"
)

// requestTimeout bounds how long a client may take to say what it wants.
const requestTimeout = 10 * time.Second

// serve answers clients until the listener is closed.
func (m *monitor) serve(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			m.log.Warn("cannot accept a client", "error", err)
			time.Sleep(100 * time.Millisecond) // out of descriptors, say
			continue
		}
		m.clients.Go(func() {
			defer c.Close()
			if err := m.answer(c); err != nil && !gone(err) {
				m.log.Info("a client's request failed", "error", err)
			}
		})
	}
}

// gone says that err only means that a client has hung up.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) ||
		errors.As(err, new(*net.OpError))
}

func (m *monitor) answer(c *net.UnixConn) error {
	if !peerAllowed(c) {
		return errors.New("another user's process connected")
	}
	in, out := stream.NewReader(c), stream.NewWriter(c)
	c.SetReadDeadline(time.Now().Add(requestTimeout))
	var r Request
	if err := readJSON(in, &r); err != nil {
		return err
	}
	c.SetReadDeadline(time.Time{})
	switch {
	case r.Attach != nil:
		return m.attach(in, out, *r.Attach)
	case r.Exec != nil:
		return m.exec(in, out, *r.Exec)
	}
	return sendJSON(out, m.command(r))
}

// command does what needs no stream.
func (m *monitor) command(r Request) Report {
	switch {
	case r.Status != nil:
	case r.Stop != nil:
		m.requestStop(r.Stop.Grace)
	case r.Signal != nil:
		if m.report().State != drivers.Running {
			return Report{Problem: drivers.ErrNotRunning.Error()}
		}
		m.control.send(guest.Message{Signal: &guest.Signal{Number: r.Signal.Number}})
	default:
		return Report{Problem: "this monitor does not know the request; it is older than the gateway"}
	}
	return m.report()
}

// attach connects a client to the workload's streams until the workload has
// ended or the client has hung up. All output comes from the log, so a slow
// client lags behind and holds nobody up.
func (m *monitor) attach(in *stream.Reader, out *stream.Writer, r AttachRequest) error {
	if m.report().State == "" { // the boot may fail, and be tried again
		return out.Write(stream.Error, 0, []byte(drivers.ErrNotRunning.Error()))
	}
	output, err := m.stdio.follow(r.Replay)
	if err != nil {
		return err
	}
	defer output.close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel() // the client hung up
		m.takeInput(in)
	}()
	write := func(kind stream.Kind, data []byte) error { return out.Write(kind, 0, data) }
	for {
		lines, err := output.next(ctx)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if err := decodeLines(lines, write); err != nil {
			return err
		}
	}
	select {
	case <-m.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	if e := m.exit; e.State == drivers.Dead {
		return out.Write(stream.Error, 0, []byte(e.Reason))
	}
	return out.Write(stream.Exit, 0, stream.EncodeExit(m.exit.ExitCode))
}

// takeInput passes what a client sends on to the workload. Signals and sizes go
// by the control port: input that the workload does not read must not be in
// their way.
func (m *monitor) takeInput(in *stream.Reader) {
	for {
		f, err := in.Read()
		if err != nil {
			return
		}
		switch f.Kind {
		case stream.Stdin, stream.StdinClose:
			err = m.stdin.Write(f.Kind, 0, f.Payload)
		case stream.Resize:
			err = m.control.out.Write(f.Kind, 0, f.Payload)
		case stream.Signal:
			if len(f.Payload) == 1 {
				m.control.send(guest.Message{Signal: &guest.Signal{Number: int(f.Payload[0])}})
			}
		}
		if err != nil {
			return
		}
	}
}

// exec runs a further command for a client, and kills it when the client hangs up.
func (m *monitor) exec(in *stream.Reader, out *stream.Writer, r ExecRequest) error {
	if m.report().State != drivers.Running {
		return out.Write(stream.Error, 0, []byte(drivers.ErrNotRunning.Error()))
	}
	s := m.control.open()
	defer m.control.close(s)
	message := guest.Message{Exec: &guest.Exec{Process: r.Process, Stdin: r.Stdin}}
	if err := guest.Send(m.control.out, s.id, message); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		for {
			f, err := in.Read()
			if err != nil || s.stdin(ctx, f) != nil {
				return
			}
		}
	}()
	for {
		f, err := s.pop(ctx)
		if err == nil {
			err = out.Write(f.Kind, 0, f.Payload)
		}
		if err != nil {
			m.control.frame(stream.Signal, s.id, []byte{9})
			return err
		}
		if f.Kind == stream.Exit || f.Kind == stream.Error {
			return nil
		}
	}
}
