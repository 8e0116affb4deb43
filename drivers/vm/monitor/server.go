package monitor

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
	"openshell-vm/internal/peer"
	"openshell-vm/internal/stream"
)

// requestTimeout bounds how long a client may take to send its request.
const requestTimeout = 10 * time.Second

// server answers clients for a monitor.
type server struct{ m *monitor }

// serve answers clients until the listener is closed.
func (s server) serve(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			s.m.log.Warn("cannot accept a client", "error", err)
			time.Sleep(100 * time.Millisecond) // out of descriptors, say
			continue
		}
		s.m.clients.Go(func() {
			defer c.Close()
			if err := s.answer(c); err != nil && !gone(err) {
				s.m.log.Info("a client's request failed", "error", err)
			}
		})
	}
}

// gone reports whether err only means that a client has hung up.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, stream.ErrHangup) || errors.Is(err, context.Canceled) ||
		errors.As(err, new(*net.OpError))
}

func (s server) answer(c *net.UnixConn) error {
	if peer.Check(c) != nil { // not this user, and not root
		return errors.New("another user's process connected")
	}
	c.SetReadDeadline(time.Now().Add(requestTimeout))
	var r api.Request
	if err := stream.ReadJSON(stream.NewReader(c), &r); err != nil {
		return err
	}
	c.SetReadDeadline(time.Time{})
	out := stream.NewWriter(c)
	switch {
	case r.Stream != nil:
		if err := stream.WriteJSON(out, 0, api.Report{Stream: true}); err != nil {
			return err
		}
		return s.stream(c, *r.Stream, true)
	case r.Attach != nil, r.Exec != nil:
		return s.stream(c, api.StreamRequest{Attach: r.Attach, Exec: r.Exec}, false)
	}
	return stream.WriteJSON(out, 0, s.command(r))
}

// stream serves a client's session to its last frame, or until the client hangs up.
func (s server) stream(c *net.UnixConn, r api.StreamRequest, credit bool) error {
	conn, client := stream.Single(c, stream.Options{Credit: credit, Process: true})
	defer conn.Close()
	ctx, cancel := whileOpen(client)
	defer cancel()
	var err error
	switch {
	case r.Attach != nil:
		err = s.attach(ctx, client, *r.Attach)
	case r.Exec != nil:
		err = s.exec(ctx, client, *r.Exec)
	}
	if err != nil {
		return err
	}
	return conn.Flush(ctx)
}

// whileOpen is a context that ends with a session.
func whileOpen(s *stream.Session) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		select {
		case <-s.Done():
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// command answers a request that needs no session.
func (s server) command(r api.Request) api.Report {
	switch {
	case r.Status != nil:
	case r.Stop != nil:
		s.m.requestStop(r.Stop.Grace)
	case r.Signal != nil:
		if s.m.report().State != drivers.Running {
			return api.Report{Problem: drivers.ErrNotRunning.Error()}
		}
		s.m.control.send(guest.Message{Signal: &guest.Signal{Number: r.Signal.Number}})
	default:
		return api.Report{Problem: api.UnknownRequest}
	}
	return s.m.report()
}

// attach connects a client to the workload's streams until the workload has ended or
// the client has hung up. All output comes from the log, so a slow client lags behind.
// If the client asked to hold, the workload waits for it once the log is full of
// output that it has not read. Nothing else waits: neither other sessions nor the
// workload's end.
func (s server) attach(ctx context.Context, client *stream.Session, r api.AttachRequest) error {
	if s.m.report().State == "" { // it boots; a boot may fail, and be tried again
		client.Fail([]byte(drivers.ErrNotRunning.Error()))
		return nil
	}
	output, err := s.m.stdio.Follow(r.Replay, r.Hold)
	if err != nil {
		return err
	}
	defer output.Close()
	go s.takeInput(ctx, client)
	go s.takeEvents(ctx, client)
	write := func(kind stream.Kind, data []byte) error { return client.Send(ctx, kind, data) }
	for {
		lines, err := output.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if err := logs.Decode(lines, write); err != nil {
			return err
		}
	}
	select {
	case <-s.m.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	e := s.m.exit
	if e.State == drivers.Dead {
		client.Fail([]byte(e.Reason))
		return nil
	}
	if (r.Why || r.Hold) && e.Reason != "" { // an older gateway asks for Hold where this one asks for both
		if err := write(stream.Stderr, []byte(api.Note(e.Reason))); err != nil {
			return err
		}
	}
	client.Exit(e.ExitCode)
	return nil
}

// takeInput passes a client's input on to the workload. A client that hangs up does not
// end the workload's input: others may attach.
func (s server) takeInput(ctx context.Context, client *stream.Session) {
	for {
		f, err := client.Next(ctx)
		switch {
		case err != nil:
			return
		case f.Kind == stream.StdinClose:
			s.m.workload.CloseInput()
		default:
			err = s.m.workload.Send(ctx, stream.Stdin, f.Payload)
		}
		if err != nil {
			return
		}
	}
}

func (s server) takeEvents(ctx context.Context, client *stream.Session) {
	for {
		select {
		case size := <-client.Sizes():
			s.m.workload.Resize(size)
		case number := <-client.Signals():
			s.m.control.send(guest.Message{Signal: &guest.Signal{Number: number}})
		case <-ctx.Done():
			return
		}
	}
}

// exec runs a command for a client, and kills it when the client hangs up.
func (s server) exec(ctx context.Context, client *stream.Session, r api.ExecRequest) error {
	if s.m.report().State != drivers.Running {
		client.Fail([]byte(drivers.ErrNotRunning.Error()))
		return nil
	}
	if why := s.m.standsStill(); why != "" {
		client.Fail([]byte("the sandbox is " + why))
		return nil
	}
	heard := s.m.control.port.heard.Load()
	process, err := s.m.control.conn.Open()
	if err == nil {
		defer process.Close()
		asked := guest.Exec{Process: r.Process, Stdin: r.Stdin, Copy: r.Copy, Launch: r.Launch}
		err = s.m.control.conn.Send(process.ID(), guest.Message{Exec: &asked})
	}
	if errors.Is(err, stream.ErrHangup) || errors.Is(err, stream.ErrClosed) {
		err = errEnded
	}
	if err != nil {
		client.Fail([]byte(err.Error()))
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		if err := s.m.awaitGuest(ctx, heard); err != nil {
			cancel(err)
		}
	}()
	go passInput(ctx, client, process)
	go passEvents(ctx, client, process)
	return passOutput(ctx, process, client)
}

// errEnded is what an exec's client is told when the sandbox ended before the command.
var errEnded = errors.New("the sandbox has ended")

func passInput(ctx context.Context, client, process *stream.Session) {
	for {
		f, err := client.Next(ctx)
		switch {
		case err != nil:
			return
		case f.Kind == stream.StdinClose:
			process.CloseInput()
		case process.Send(ctx, f.Kind, f.Payload) != nil:
			return
		}
	}
}

func passEvents(ctx context.Context, client, process *stream.Session) {
	for {
		select {
		case size := <-client.Sizes():
			process.Resize(size)
		case number := <-client.Signals():
			process.Signal(number)
		case <-ctx.Done():
			return
		}
	}
}

// passOutput passes a process's output on. It returns after the process's last frame,
// or when the client is gone.
func passOutput(ctx context.Context, process, client *stream.Session) error {
	for {
		f, err := process.Next(ctx)
		var abort *stream.AbortError
		switch {
		case ctx.Err() != nil:
			process.Abort("its client is gone")
			if silent, is := isSilent(ctx); is {
				client.Fail([]byte(silent.why))
				return nil
			}
			return ctx.Err()
		case errors.As(err, &abort):
			client.Fail([]byte(abort.Reason))
			return nil
		case err != nil:
			client.Fail([]byte(errEnded.Error()))
			return nil
		case f.Kind == stream.Exit, f.Kind == stream.Error:
			client.Last(f)
			return nil
		}
		if err := client.Send(ctx, f.Kind, f.Payload); err != nil {
			process.Abort("its client is gone")
			return err
		}
	}
}
