package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

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
			p.serve(r.Context(), nil, flusher{w, http.NewResponseController(w)})
			return
		}
		conn, input, err := takeOver(w, r)
		if err != nil {
			fail(w, err)
			return
		}
		defer conn.Close()
		p.serve(r.Context(), input, conn)
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
	replay := r.URL.Query().Get("replay") != "" || s.view().State != string(drivers.Running)
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
	if view := s.view(); view.State != string(drivers.Running) {
		g.lookAt(r.Context(), s) // it may have been started since
		if view = s.view(); view.State != string(drivers.Running) {
			return session{}, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s is not running (%s)", view.Name, view.State),
				Hint: "start it first: openshell-vm start " + view.Name}
		}
	}
	p := drivers.Process{Args: q.Process.Args, Env: q.Process.Env, Dir: q.Process.Dir, User: q.Process.User,
		Terminal: q.Process.Terminal, Size: drivers.Size(q.Process.Size)}
	return session{sandbox: s, upgrade: true, stdin: q.Stdin, run: func(ctx context.Context, streams drivers.Streams) (int, error) {
		return execer.Exec(ctx, s.id, p, streams)
	}}, nil
}

// takeOver switches the connection to frames.
func takeOver(w http.ResponseWriter, r *http.Request) (net.Conn, *bufio.Reader, error) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), api.UpgradeProtocol) {
		return nil, nil, &api.Error{Code: api.CodeInvalid, Message: "this request needs an upgrade to " + api.UpgradeProtocol, Hint: "use openshell-vm or package api"}
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", api.UpgradeProtocol)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, buffered.Reader, nil
}

// serve runs the session until its last frame. A client that closes its end
// cancels it: an attachment is detached, a command is killed.
func (p session) serve(ctx context.Context, input io.Reader, output io.Writer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	frames := stream.NewWriter(output)
	streams := drivers.Streams{Stdout: frames.To(stream.Stdout, 0), Stderr: frames.To(stream.Stderr, 0)}
	if input != nil {
		in := newInput()
		defer in.close()
		streams.Resize, streams.Signals = in.resize, in.signals
		if p.stdin {
			streams.Stdin = in.stdin
		} else {
			in.close() // input is read on, and dropped
		}
		go func() {
			defer cancel()
			in.receive(stream.NewReader(input))
		}()
	}
	code, err := p.run(ctx, streams)
	if err != nil {
		if ctx.Err() != nil {
			err = &api.Error{Code: api.CodeInternal, Message: "the gateway ended the stream", Hint: "the sandbox goes on: attach again once the gateway runs"}
		}
		_ = frames.Write(stream.Error, 0, api.EncodeError(explain(err))) // a client that has gone needs none
		return
	}
	_ = frames.Write(stream.Exit, 0, stream.EncodeExit(code))
}

// input sorts a client's frames into the channels of drivers.Streams.
type input struct {
	stdin   *io.PipeReader
	write   *io.PipeWriter
	resize  chan drivers.Size
	signals chan int
}

func newInput() *input {
	r, w := io.Pipe()
	return &input{stdin: r, write: w, resize: make(chan drivers.Size, 1), signals: make(chan int, 8)}
}

// close releases a receive that waits for somebody to read the input.
func (in *input) close() { in.stdin.Close() }

// receive returns when the client's end is closed or sends nonsense.
func (in *input) receive(frames *stream.Reader) {
	defer in.write.CloseWithError(io.ErrUnexpectedEOF)
	for {
		frame, err := frames.Read()
		if err != nil {
			return
		}
		switch frame.Kind {
		case stream.Stdin:
			_, _ = in.write.Write(frame.Payload) // nobody reads it any more: dropped
		case stream.StdinClose:
			in.write.Close()
		case stream.Resize:
			if rows, cols, err := stream.DecodeSize(frame.Payload); err == nil {
				in.latest(drivers.Size{Rows: rows, Cols: cols})
			}
		case stream.Signal:
			if len(frame.Payload) == 1 {
				select {
				case in.signals <- int(frame.Payload[0]):
				default: // eight wait already
				}
			}
		}
	}
}

// latest replaces a size that nobody has taken yet.
func (in *input) latest(size drivers.Size) {
	select {
	case <-in.resize:
	default:
	}
	in.resize <- size
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
