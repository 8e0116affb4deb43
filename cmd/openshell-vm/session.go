package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"openshell-vm/gateway/api"
)

// session is this process's terminal or pipes while they are connected to a
// workload, and the signals that are meant for it.
//
// Signals are the session's from newSession to close: until live is called
// they interrupt what is under way, afterwards they go to the workload.
type session struct {
	tty      bool // the workload has a terminal
	raw      bool // ours is to be raw
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
	restore  func()
	resize   chan api.Size
	signals  chan int
	received chan os.Signal
	detached chan struct{} // closed when the user typed the detach keys
	ended    chan struct{}
	progress *progress
}

// newSession connects standard input if interactive. A terminal is what the
// workload gets with tty; ours must be one if it is to be typed into.
func newSession(interactive, tty bool) (*session, error) {
	s := &session{
		tty: tty, stdout: os.Stdout, stderr: os.Stderr, restore: func() {},
		resize: make(chan api.Size, 1), signals: make(chan int, 16),
		received: make(chan os.Signal, 16), detached: make(chan struct{}), ended: make(chan struct{}),
		progress: newProgress(os.Stderr),
	}
	if interactive {
		s.stdin = os.Stdin
	}
	if interactive && tty {
		if !term.IsTerminal(int(os.Stdin.Fd())) {
			return nil, usage("leave -t out: -i alone connects a pipe or a file", "standard input is not a terminal")
		}
		s.raw = true
		s.stdin = &detachReader{from: os.Stdin, detach: sync.OnceFunc(func() { close(s.detached) })}
	}
	s.stdout, s.stderr = s.progress.before(s.stdout), s.progress.before(s.stderr)
	signal.Notify(s.received, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	return s, nil
}

// close gives the terminal and the signals back. It may be called twice.
func (s *session) close() {
	s.progress.done()
	signal.Stop(s.received)
	s.restore()
}

// size is the window's size; zero where there is none.
func (s *session) size() api.Size {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if cols, rows, err := term.GetSize(int(f.Fd())); err == nil && s.tty {
			return api.Size{Rows: uint16(rows), Cols: uint16(cols)}
		}
	}
	return api.Size{}
}

// streams are the session's ends for the client.
func (s *session) streams() api.Streams {
	return api.Streams{Stdin: s.stdin, Stdout: s.stdout, Stderr: s.stderr, Resize: s.resize, Signals: s.signals}
}

// interruptible runs f. A signal cancels f's context, and then the error is
// the exit code of a program that the signal ended. A second one ends this
// program, whatever f is at.
func (s *session) interruptible(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case sig := <-s.received:
		cancel()
		select {
		case <-done:
		case sig = <-s.received:
			s.close()
			os.Exit(codeOfSignal(sig))
		}
		return exit(codeOfSignal(sig))
	}
}

func codeOfSignal(sig os.Signal) int { return 128 + int(sig.(syscall.Signal)) }

// forced is how many INT and TERM end this program, although they go to the
// workload: docker's has as many. What can't be reached must not hold its client.
const forced = 3

// leave ends this program, and not the workload.
func (s *session) leave(sig os.Signal) {
	s.close()
	fmt.Fprintf(os.Stderr, "openshell-vm: got %d signals to end, and leaves; what runs may go on\nhint: openshell-vm ps shows it\n", forced)
	os.Exit(codeOfSignal(sig))
}

// live makes the terminal the workload's: keys go to it unchanged, sizes and
// signals follow. It returns at once; s.close ends it.
func (s *session) live() error {
	s.progress.done()
	if s.raw {
		if err := s.rawTerminal(); err != nil {
			return err
		}
	}
	winch := make(chan os.Signal, 1)
	if s.tty {
		signal.Notify(winch, unix.SIGWINCH)
		s.offerSize()
	}
	go func() {
		defer signal.Stop(winch)
		for asked := 0; ; {
			select {
			case <-winch:
				s.offerSize()
			case sig := <-s.received:
				select {
				case s.signals <- int(sig.(syscall.Signal)):
				default: // 16 wait already: one more tells the workload nothing new
				}
				if sig == syscall.SIGINT || sig == syscall.SIGTERM {
					if asked++; asked == forced {
						s.leave(sig)
					}
				}
			case <-s.ended:
				return
			}
		}
	}()
	return nil
}

func (s *session) rawTerminal() error {
	fd := int(os.Stdin.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return fmt.Errorf("set the terminal up: %w", err)
	}
	// A reader that went away must not end us before the terminal is restored.
	signal.Ignore(syscall.SIGPIPE)
	s.restore = sync.OnceFunc(func() { _ = term.Restore(fd, old) })
	return nil
}

// offerSize leaves the newest size for the client to send.
func (s *session) offerSize() {
	size := s.size()
	if size.Rows == 0 || size.Cols == 0 {
		return
	}
	select {
	case <-s.resize:
	default:
	}
	s.resize <- size // room: this goroutine is the only sender
}

// errDetached ends the reading of standard input without an end of input.
var errDetached = errors.New("detached")

// The detach keys: ctrl-p, then ctrl-q.
const (
	detachFirst  = 0x10
	detachSecond = 0x11
)

// detachReader passes on what is typed and looks for the detach keys. A
// ctrl-p is held back until the next key shows what it is.
type detachReader struct {
	from   io.Reader
	detach func()
	held   bool
	rest   []byte // read, but not passed on yet
	end    error  // what comes after rest
}

func (d *detachReader) Read(p []byte) (int, error) {
	for len(d.rest) == 0 && d.end == nil {
		buf := make([]byte, 4096)
		n, err := d.from.Read(buf)
		switch {
		case d.filter(buf[:n]):
			d.detach()
			d.end = errDetached
		case err != nil:
			d.end = err
			if d.held { // nothing follows it any more
				d.rest = append(d.rest, detachFirst)
			}
		}
	}
	if len(d.rest) == 0 {
		return 0, d.end
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// filter appends to rest what goes to the workload.
func (d *detachReader) filter(typed []byte) (detached bool) {
	d.rest = d.rest[:0]
	for _, key := range typed {
		switch {
		case d.held && key == detachSecond:
			return true
		case d.held:
			d.rest = append(d.rest, detachFirst)
			d.held = false
		}
		if key == detachFirst {
			d.held = true
			continue
		}
		d.rest = append(d.rest, key)
	}
	return false
}
