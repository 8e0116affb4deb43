package server

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/sandbox/inside"
	"openshell-vm/internal/stream"
)

// session is one client's streams, ready to run. Errors that are found before it exists
// are ordinary answers; later ones are frames.
type session struct {
	run     inside.Stream
	upgrade bool // take the connection over; if not, the frames are the answer's body and there is no input
	stdin   bool // pass the client's input on
}

// takeOver switches the connection from HTTP to frames.
func takeOver(w http.ResponseWriter, r *http.Request) (io.ReadWriteCloser, error) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), api.UpgradeProtocol) {
		return nil, &api.Error{Code: api.CodeInvalid,
			Message: "this request needs an upgrade to " + api.UpgradeProtocol,
			Hint:    "use openshell-vm or package api"}
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

// taken is a connection that is read through the buffer of the HTTP server: it may hold
// bytes that came after the request.
type taken struct {
	net.Conn
	buffered *bufio.Reader
}

func (t taken) Read(p []byte) (int, error) { return t.buffered.Read(p) }

// give runs a session without input, and writes its frames up to the last one.
func (p session) give(ctx context.Context, frames *stream.Writer) {
	code, err := p.run(ctx, drivers.Streams{Stdout: frames.To(stream.Stdout, 0), Stderr: frames.To(stream.Stderr, 0)})
	if err != nil {
		_ = frames.Write(stream.Error, 0, p.refusal(ctx, err)) // fails only if the client has gone
		return
	}
	_ = frames.Write(stream.Exit, 0, stream.EncodeExit(code))
}

// serve runs a session up to its last frame. If the client closes the connection, the
// session is cancelled: an attachment is detached, a command is killed.
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
	client.DiscardInput() // so that an old client's end is noticed
	flushing := ctx
	if ctx.Err() != nil {
		var stop context.CancelFunc
		flushing, stop = context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer stop()
	}
	_ = conn.Flush(flushing) // fails only if the client has gone
}

// refusal returns an Error frame's payload. If ctx has ended, it says that the gateway ended
// the stream.
func (p session) refusal(ctx context.Context, err error) []byte {
	if ctx.Err() != nil {
		err = &api.Error{Code: api.CodeEnding,
			Message: "the gateway ended the stream",
			Hint:    "the sandbox goes on: attach again once the gateway runs"}
	}
	return api.EncodeError(explain.Error(err))
}
