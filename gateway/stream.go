package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/stream"
)

// session is one client's streams, ready to run. What can be refused is
// refused before it is made, by an ordinary answer.
type session struct {
	sandbox *sandbox
	upgrade bool // else the frames are the answer's body, and there is no input
	stdin   bool
	run     func(ctx context.Context, s drivers.Streams) (exitCode int, err error)
}

// streams makes a handler of a function that prepares a session.
func (g *Gateway) streams(prepare func(*http.Request, *sandbox) (session, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, err := g.findSandbox(r.PathValue("ref"))
		if err != nil {
			fail(w, err)
			return
		}
		p, err := prepare(r, s)
		if err != nil {
			fail(w, err)
			return
		}
		defer g.client(s)()
		if !p.upgrade {
			w.Header().Set("Content-Type", "application/octet-stream")
			p.give(r.Context(), stream.NewWriter(flusher{w, http.NewResponseController(w)}))
			return
		}
		conn, err := takeOver(w, r)
		if err != nil {
			fail(w, err)
			return
		}
		p.serve(r.Context(), conn, r.Header.Get(api.StreamHeader) == api.StreamCredit)
	}
}

func (g *Gateway) getLogs(r *http.Request, s *sandbox) (session, error) {
	logger, ok := g.drivers[s.rec().Driver].(drivers.Logger)
	if !ok {
		return session{}, notSupported(s.rec().Driver, "give logs")
	}
	follow := r.URL.Query().Get("follow") != ""
	return session{sandbox: s, run: func(ctx context.Context, streams drivers.Streams) (int, error) {
		return 0, logger.Logs(ctx, s.id, follow, streams.Stdout, streams.Stderr)
	}}, nil
}

func (g *Gateway) postAttach(r *http.Request, s *sandbox) (session, error) {
	attacher, ok := g.drivers[s.rec().Driver].(drivers.Attacher)
	if !ok {
		return session{}, notSupported(s.rec().Driver, "attach")
	}
	if err := s.present(); err != nil {
		return session{}, err
	}
	// A client that attaches before the start must lose nothing, and its start may
	// overtake the attachment: the driver then gives what was missed.
	replay := r.URL.Query().Get("replay") != "" || s.view().State != api.StateRunning
	return session{sandbox: s, upgrade: true, stdin: s.rec().Request.Stdin, run: func(ctx context.Context, streams drivers.Streams) (int, error) {
		return attacher.Attach(ctx, s.id, replay, streams)
	}}, nil
}

func (g *Gateway) postExec(r *http.Request, s *sandbox) (session, error) {
	var q api.ExecRequest
	if err := decode(r, &q); err != nil {
		return session{}, err
	}
	execer, ok := g.drivers[s.rec().Driver].(drivers.Execer)
	if !ok {
		return session{}, notSupported(s.rec().Driver, "run further commands")
	}
	if len(q.Process.Args) == 0 {
		return session{}, &api.Error{Code: api.CodeInvalid, Message: "no command is given", Hint: "openshell-vm exec NAME COMMAND [ARG…]"}
	}
	if err := checkDir(q.Process.Dir); err != nil {
		return session{}, err
	}
	if view := s.view(); view.State != api.StateRunning {
		g.lookAt(r.Context(), s) // it may have been started since
		if view = s.view(); view.State != api.StateRunning {
			return session{}, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s is not running (%s)", view.Name, view.State),
				Hint: "start it first: openshell-vm start " + view.Name}
		}
	}
	return session{sandbox: s, upgrade: true, stdin: q.Stdin, run: func(ctx context.Context, streams drivers.Streams) (int, error) {
		return execer.Exec(ctx, s.id, q.Process, streams)
	}}, nil
}

// takeOver switches the connection to frames.
func takeOver(w http.ResponseWriter, r *http.Request) (io.ReadWriteCloser, error) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), api.UpgradeProtocol) {
		return nil, &api.Error{Code: api.CodeInvalid, Message: "this request needs an upgrade to " + api.UpgradeProtocol, Hint: "use openshell-vm or package api"}
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	answer := http.Header{"Connection": {"Upgrade"}, "Upgrade": {api.UpgradeProtocol}, api.StreamHeader: {api.StreamCredit}}
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n")
	if err == nil {
		err = answer.Write(conn)
	}
	if err == nil {
		_, err = io.WriteString(conn, "\r\n")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return taken{conn, buffered.Reader}, nil
}

// taken reads through the buffer that the request was read with.
type taken struct {
	net.Conn
	buffered *bufio.Reader
}

func (t taken) Read(p []byte) (int, error) { return t.buffered.Read(p) }

// give runs a session that has only output to its last frame.
func (p session) give(ctx context.Context, frames *stream.Writer) {
	code, err := p.run(ctx, drivers.Streams{Stdout: frames.To(stream.Stdout, 0), Stderr: frames.To(stream.Stderr, 0)})
	if err != nil {
		_ = frames.Write(stream.Error, 0, p.refusal(ctx, err)) // a client that has gone needs none
		return
	}
	_ = frames.Write(stream.Exit, 0, stream.EncodeExit(code))
}

// serve runs the session to its last frame. A client that closes its end
// cancels it: an attachment is detached, a command is killed.
func (p session) serve(ctx context.Context, rwc io.ReadWriteCloser, credit bool) {
	conn, client := stream.Single(rwc, stream.Options{Process: true, Credit: credit})
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-client.Done():
		case <-ctx.Done():
		}
	}()
	streams := client.Streams()
	if !p.stdin {
		streams.Stdin = nil
		client.DiscardInput()
	}
	if code, err := p.run(ctx, streams); err != nil {
		client.Fail(p.refusal(ctx, err))
	} else {
		client.Exit(code)
	}
	client.DiscardInput() // so that an old client can say that it has gone
	flushing := ctx
	if ctx.Err() != nil {
		var stop context.CancelFunc
		flushing, stop = context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer stop()
	}
	_ = conn.Flush(flushing) // a client that has gone needs no last frame
}

// refusal is an Error frame's payload.
func (p session) refusal(ctx context.Context, err error) []byte {
	if ctx.Err() != nil {
		err = &api.Error{Code: api.CodeEnding, Message: "the gateway ended the stream", Hint: "the sandbox goes on: attach again once the gateway runs"}
	}
	return api.EncodeError(explain(err))
}

// flusher sends each frame at once.
type flusher struct {
	w          http.ResponseWriter
	controller *http.ResponseController
}

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.controller.Flush()
	}
	return n, err
}
