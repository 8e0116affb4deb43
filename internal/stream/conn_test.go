package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/internal/stream"
	"openshell-vm/internal/stream/streamtest"
)

// use plays the client's side of a session.
func use(ctx context.Context, s *stream.Session, ends stream.Streams) (int, error) {
	defer s.Close()
	last, err := s.Connect(ctx, ends)
	if err != nil {
		return 0, err
	}
	return stream.DecodeExit(last.Payload)
}

// perSession is a hop with a connection for each session.
func perSession(connect func(*testing.T) (a, b io.ReadWriteCloser), credit bool) func(*testing.T) streamtest.Run {
	return func(t *testing.T) streamtest.Run {
		return func(ctx context.Context, ends stream.Streams, p streamtest.Process) (int, error) {
			near, far := connect(t)
			there, process := stream.Single(far, stream.Options{Credit: credit, Process: true})
			go func() {
				defer there.Close()
				streamtest.Serve(there, process, p)
			}()
			here, s := stream.Single(near, stream.Options{Credit: credit})
			defer here.Close()
			return use(ctx, s, ends)
		}
	}
}

// shared is a hop with one connection for all sessions, as a VM's control port is.
func shared(t *testing.T) streamtest.Run {
	near, far := socketPair(t)
	processes := make(chan streamtest.Process, 1)
	here := stream.New(near, stream.Options{Credit: true})
	var there *stream.Conn
	there = stream.New(far, stream.Options{Credit: true, Process: true, MaxMessage: 100, Message: func(id uint32, _ []byte) error {
		s, err := there.Accept(id)
		if err == nil {
			go streamtest.Serve(there, s, <-processes)
		}
		return err
	}})
	go here.Run()
	go there.Run()
	t.Cleanup(func() { here.Close(); there.Close() })
	opening := make(chan struct{}, 1)
	return func(ctx context.Context, ends stream.Streams, p streamtest.Process) (int, error) {
		opening <- struct{}{} // one at a time: processes come in the sessions' order
		processes <- p
		s, err := here.Open()
		if err == nil {
			err = here.Send(s.ID(), "run")
		}
		<-opening
		if err != nil {
			return 0, err
		}
		return use(ctx, s, ends)
	}
}

func TestHops(t *testing.T) {
	t.Run("sockets", func(t *testing.T) { streamtest.Test(t, perSession(socketPair, true)) })
	t.Run("pipes", func(t *testing.T) { streamtest.Test(t, perSession(pipe, true)) })
	t.Run("one socket", func(t *testing.T) { streamtest.Test(t, shared) })
}

// TestWithoutCredit checks that no bytes are lost with an old peer, which gives no
// credit.
func TestWithoutCredit(t *testing.T) {
	run := perSession(socketPair, false)
	t.Run("input", func(t *testing.T) { streamtest.InputWaits(t, run(t)) })
	t.Run("output", func(t *testing.T) { streamtest.OutputWaits(t, run(t)) })
	t.Run("ends", func(t *testing.T) { streamtest.Ends(t, run(t)) })
}

func socketPair(t *testing.T) (a, b io.ReadWriteCloser) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func pipe(t *testing.T) (a, b io.ReadWriteCloser) {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// raw makes a session whose other side is the test.
func raw(t *testing.T, opt stream.Options) (c *stream.Conn, s *stream.Session, in *stream.Reader, out *stream.Writer, run <-chan error) {
	near, far := socketPair(t)
	opt.Credit = true
	c = stream.New(near, opt)
	t.Cleanup(func() { c.Close() })
	s, err := c.Accept(0)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Run() }()
	return c, s, stream.NewReader(far), stream.NewWriter(far), ended
}

// TestBreaches checks that a breach of the protocol ends the connection with an error
// that describes it.
func TestBreaches(t *testing.T) {
	client, process := stream.Options{}, stream.Options{Process: true}
	talks := stream.Options{MaxMessage: 100 << 10, Message: func(uint32, []byte) error { return nil }}
	full := bytes.Repeat([]byte(" "), stream.MaxPayload)
	for name, c := range map[string]struct {
		opt  stream.Options
		want string
		send func(*stream.Writer)
	}{
		"more than the window": {client, "bytes more than there was room for", func(w *stream.Writer) {
			w.Write(stream.Stdout, 0, make([]byte, stream.Window))
		}},
		"empty frames without end": {client, "bytes more than there was room for", func(w *stream.Writer) {
			for range stream.Window {
				w.Write(stream.Stdout, 0, nil)
			}
		}},
		"a session that was never opened": {client, "session 7, which was never opened", func(w *stream.Writer) { w.Write(stream.Stdout, 7, nil) }},
		"input from a process":            {client, "from the wrong side", func(w *stream.Writer) { w.Write(stream.Stdin, 0, nil) }},
		"output from a client":            {process, "from the wrong side", func(w *stream.Writer) { w.Write(stream.Exit, 0, stream.EncodeExit(0)) }},
		"a message where none belongs":    {client, "where none belongs", func(w *stream.Writer) { w.Write(stream.Control, 0, []byte("{}")) }},
		"a message in another session":    {talks, "a control message in session 9", func(w *stream.Writer) { w.Write(stream.Control, 9, []byte("{}")) }},
		"a message without end": {talks, "of more than", func(w *stream.Writer) {
			for range 4 {
				w.Write(stream.Control, 0, full)
			}
		}},
		"credit for more than the window": {client, "credit", func(w *stream.Writer) { w.Write(stream.Credit, 0, []byte{0, 0, 0, 1}) }},
		"a short credit":                  {client, "credit", func(w *stream.Writer) { w.Write(stream.Credit, 0, nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			_, s, _, out, run := raw(t, c.opt)
			go c.send(out)
			err := await(t, run)
			var breach *stream.ProtocolError
			if !errors.As(err, &breach) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			<-s.Done()
		})
	}
}

// TestFramesAreBounded sends as many small frames as the window allows while nobody
// reads. All of them have to be kept.
func TestFramesAreBounded(t *testing.T) {
	_, s, _, out, _ := raw(t, stream.Options{})
	frames := 0
	for ; (frames+1)*65 <= stream.Window; frames++ {
		kind := stream.Stdout
		if frames%2 == 1 {
			kind = stream.Stderr // so that no two can be joined
		}
		if err := out.Write(kind, 0, []byte{byte(frames)}); err != nil {
			t.Fatal(err)
		}
	}
	out.Write(stream.Exit, 0, stream.EncodeExit(4))
	for i := range frames {
		f, err := s.Next(t.Context())
		if err != nil || !bytes.Equal(f.Payload, []byte{byte(i)}) {
			t.Fatalf("frame %d: %v, %v", i, f, err)
		}
	}
	if f, err := s.Next(t.Context()); f.Kind != stream.Exit || err != nil {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestAbortReachesTheOtherSide(t *testing.T) {
	near, far := socketPair(t)
	here, client := stream.Single(near, stream.Options{Credit: true})
	there, process := stream.Single(far, stream.Options{Credit: true, Process: true})
	defer here.Close()
	defer there.Close()
	// The process reads nothing, and the client can send no more.
	full, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if err := client.Send(full, stream.Stdin, make([]byte, 2*stream.Window)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	client.Abort("enough")
	await(t, process.Done())
	var abort *stream.AbortError
	if err := process.Err(); !errors.As(err, &abort) || abort.Reason != "enough" {
		t.Errorf("the process is told %v", err)
	}
	if _, err := io.ReadAll(process.Stdin()); !errors.As(err, &abort) {
		t.Errorf("its input ends with %v", err)
	}
	if _, err := process.To(stream.Stdout).Write([]byte("x")); !errors.As(err, &abort) {
		t.Errorf("its output ends with %v", err)
	}
	if _, err := client.Next(t.Context()); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("the client's session ends with %v", err)
	}
}

// TestHangup checks that data from before a hang-up can still be read after it was
// noticed.
func TestHangup(t *testing.T) {
	near, far := socketPair(t)
	_, s := stream.Single(near, stream.Options{Credit: true, Process: true})
	stream.NewWriter(far).Write(stream.Stdin, 0, []byte("last words"))
	far.Close()
	await(t, s.Done())
	data, err := io.ReadAll(s.Stdin())
	if string(data) != "last words" || !errors.Is(err, stream.ErrHangup) {
		t.Errorf("%q, %v", data, err)
	}
}

// TestHalfClosed checks that a connection can still be read after writes to it fail.
func TestHalfClosed(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	far := os.NewFile(uintptr(fds[1]), "far")
	stream.NewWriter(far).Write(stream.Stdout, 0, []byte("out"))
	stream.NewWriter(far).Write(stream.Exit, 0, stream.EncodeExit(3))
	syscall.Shutdown(fds[0], syscall.SHUT_WR)
	c, s := stream.Single(os.NewFile(uintptr(fds[0]), "near"), stream.Options{Credit: true})
	defer c.Close()
	defer far.Close()
	var out bytes.Buffer
	last, err := s.Connect(t.Context(), stream.Streams{Stdin: strings.NewReader("in"), Stdout: &out})
	if out.String() != "out" || last.Kind != stream.Exit || err != nil {
		t.Errorf("%q, %+v, %v", out.String(), last, err)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	c, _, _, _, _ := raw(t, stream.Options{})
	for i := range stream.MaxSessions - 1 {
		if _, err := c.Open(); err != nil {
			t.Fatal(i, err)
		}
	}
	if s, err := c.Open(); err == nil {
		t.Errorf("session %d was opened", s.ID())
	}
}

func TestDiscardInput(t *testing.T) {
	near, far := socketPair(t)
	here, client := stream.Single(near, stream.Options{Credit: true})
	there, process := stream.Single(far, stream.Options{Credit: true, Process: true})
	defer here.Close()
	defer there.Close()
	go process.DiscardInput()
	if err := client.Send(t.Context(), stream.Stdin, make([]byte, 8*stream.Window)); err != nil {
		t.Error(err)
	}
}

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came in time")
		panic("unreachable")
	}
}
