package stream

import (
	"context"
	"errors"
	"io"

	"openshell-vm/internal/vocab"
)

// Size is a terminal window in character cells.
type Size = vocab.Size

// Streams are one client's ends. Nil fields are not connected. The caller owns the readers
// and writers and closes them. A Read of Stdin that blocks may outlive the call that used
// it.
type Streams struct {
	// Stdin's io.EOF is the end of input, and the process is told. Any other error means
	// that the client is gone, and the process is not told.
	Stdin          io.Reader
	Stdout, Stderr io.Writer   // with a terminal, all output is on Stdout
	Resize         <-chan Size // window sizes, latest wins; terminal only
	Signals        <-chan int  // signal numbers for the process
}

// OutputError is a failed write to a client's own Stdout or Stderr.
type OutputError struct{ Err error }

func (e *OutputError) Error() string { return "write the output: " + e.Err.Error() }
func (e *OutputError) Unwrap() error { return e.Err }

// Connect copies between a client's ends and the session until the session's last frame,
// Exit or Error, and returns that. It does not close the session. If it fails, call Abort or
// Close to tell the process.
func (s *Session) Connect(ctx context.Context, ends Streams) (last Frame, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if ends.Stdin != nil {
		go s.sendInput(ctx, ends.Stdin)
	}
	go s.sendEvents(ctx, ends)
	for {
		f, err := s.Next(ctx)
		if err != nil {
			return f, err
		}
		switch f.Kind {
		case Stdout:
			err = write(ends.Stdout, f.Payload)
		case Stderr:
			err = write(ends.Stderr, f.Payload)
		case Exit, Error:
			return f, nil
		}
		if err != nil {
			return f, &OutputError{err}
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

// sendInput sends the input until the reader or the session ends. A Read may block for
// longer, as in every copy from a terminal.
func (s *Session) sendInput(ctx context.Context, r io.Reader) {
	buf := make([]byte, MaxPayload)
	for {
		n, err := r.Read(buf)
		if s.Send(ctx, Stdin, buf[:n]) != nil {
			return
		}
		switch {
		case errors.Is(err, io.EOF):
			s.CloseInput()
			return
		case err != nil:
			return
		}
	}
}

func (s *Session) sendEvents(ctx context.Context, ends Streams) {
	for {
		select {
		case size, ok := <-ends.Resize:
			if !ok {
				ends.Resize = nil
				continue
			}
			s.Resize(size)
		case number, ok := <-ends.Signals:
			if !ok {
				ends.Signals = nil
				continue
			}
			s.Signal(number)
		case <-s.done:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Streams returns the process's ends of the session.
func (s *Session) Streams() Streams {
	return Streams{Stdin: s.Stdin(), Stdout: s.To(Stdout), Stderr: s.To(Stderr), Resize: s.sizes, Signals: s.signals}
}

// Stdin returns a reader of the input. io.EOF is the end of the input. A hang-up is an
// ErrHangup or an *AbortError, after the input that came before it. The reader is for one
// goroutine.
func (s *Session) Stdin() io.Reader { return &input{s: s} }

type input struct {
	s    *Session
	rest []byte
	err  error
}

func (i *input) Read(p []byte) (int, error) {
	for len(i.rest) == 0 {
		if i.err != nil {
			return 0, i.err
		}
		f, err := i.s.Next(context.Background())
		switch {
		case err != nil:
			i.err = err
		case f.Kind == StdinClose:
			i.err = io.EOF
		default:
			i.rest = f.Payload
		}
	}
	n := copy(p, i.rest)
	i.rest = i.rest[n:]
	return n, nil
}

// To returns a writer that sends bytes of one kind. It fails once the session has ended.
func (s *Session) To(kind Kind) io.Writer { return output{s, kind} }

type output struct {
	s    *Session
	kind Kind
}

func (o output) Write(p []byte) (int, error) {
	if err := o.s.Send(context.Background(), o.kind, p); err != nil {
		return 0, err
	}
	return len(p), nil
}
