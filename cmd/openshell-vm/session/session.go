// Package session connects this process's terminal or pipes to a workload: attach, exec,
// raw mode, the detach keys, and the signals of either side.
package session

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// Session is this process's terminal or pipes while they are connected to a workload,
// and the signals that are meant for it.
//
// Signals are the session's from New to Close. Until Live is called they interrupt what
// is under way. Afterwards they go to the workload.
type Session struct {
	tty      bool // the workload has a terminal
	raw      bool // ours is to be raw
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
	restore  func()
	ready    func() // lets output through, once the terminal is set up
	resize   chan api.Size
	signals  chan int
	received chan os.Signal
	detached chan struct{} // closed when the user typed the detach keys
	ended    chan struct{}

	Progress *say.Progress // the line that is taken away before the first output
}

// New connects standard input if interactive. With tty the workload gets a terminal.
// Ours must then be one, too, if it is to be typed into.
func New(interactive, tty bool) (*Session, error) {
	s := &Session{
		tty: tty, stdout: os.Stdout, stderr: os.Stderr, restore: func() {},
		resize: make(chan api.Size, 1), signals: make(chan int, 16),
		received: make(chan os.Signal, 16), detached: make(chan struct{}), ended: make(chan struct{}),
		Progress: say.NewProgress(os.Stderr),
	}
	if interactive {
		s.stdin = os.Stdin
	}
	if interactive && tty {
		if !term.IsTerminal(int(os.Stdin.Fd())) {
			return nil, say.Errorf("leave -t out: -i alone connects a pipe or a file", "standard input is not a terminal")
		}
		s.raw = true
		s.stdin = &detachReader{from: os.Stdin, detach: sync.OnceFunc(func() { close(s.detached) })}
	}
	s.stdout, s.stderr = s.Progress.Before(s.stdout), s.Progress.Before(s.stderr)
	s.ready = func() {}
	if s.raw {
		live := make(chan struct{})
		s.ready = sync.OnceFunc(func() { close(live) })
		s.stdout, s.stderr = held{s.stdout, live}, held{s.stderr, live}
	}
	signal.Notify(s.received, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	return s, nil
}

// held keeps output back until the terminal is set up. Who saw a prompt before would type
// into a terminal that still echoes and waits for whole lines.
type held struct {
	w    io.Writer
	live <-chan struct{}
}

func (h held) Write(data []byte) (int, error) {
	<-h.live
	return h.w.Write(data)
}

// Close gives the terminal and the signals back. It may be called twice.
func (s *Session) Close() {
	defer s.ready()
	s.Progress.Done()
	signal.Stop(s.received)
	s.restore()
}

// Size is the window's size; zero where there is none.
func (s *Session) Size() api.Size {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if cols, rows, err := term.GetSize(int(f.Fd())); err == nil && s.tty {
			return api.Size{Rows: uint16(rows), Cols: uint16(cols)}
		}
	}
	return api.Size{}
}

// streams are the session's ends for the client.
func (s *Session) streams() api.Streams {
	return api.Streams{Stdin: s.stdin, Stdout: s.stdout, Stderr: s.stderr, Resize: s.resize, Signals: s.signals}
}

// Interruptible runs f. A signal cancels f's context. The error is then the exit code of
// a program that the signal ended. A second signal ends this program, whatever f does.
func (s *Session) Interruptible(ctx context.Context, f func(context.Context) error) error {
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
			s.Close()
			os.Exit(codeOfSignal(sig))
		}
		return say.Exit(codeOfSignal(sig))
	}
}

func codeOfSignal(sig os.Signal) int { return 128 + int(sig.(syscall.Signal)) }

// forced is how many INT and TERM end this program, although they go to the workload. It
// is docker's number. A workload that can't be reached must not hold its client.
const forced = 3

// leave ends this program, and not the workload.
func (s *Session) leave(sig os.Signal) {
	s.Close()
	fmt.Fprintf(os.Stderr, "openshell-vm: got %d signals to end, and leaves; what runs may go on\nhint: openshell-vm ps shows it\n", forced)
	os.Exit(codeOfSignal(sig))
}

// Live makes the terminal the workload's. Keys go to it unchanged, and so do sizes and
// signals. Live returns at once. It ends with Follow or Exec.
func (s *Session) Live() error {
	s.Progress.Done()
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
	s.ready()
	go func() {
		defer signal.Stop(winch)
		for asked := 0; ; {
			select {
			case <-winch:
				s.offerSize()
			case sig := <-s.received:
				select {
				case s.signals <- int(sig.(syscall.Signal)):
				default: // 16 wait already, and one more tells the workload nothing new
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

func (s *Session) rawTerminal() error {
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
func (s *Session) offerSize() {
	size := s.Size()
	if size.Rows == 0 || size.Cols == 0 {
		return
	}
	select {
	case <-s.resize:
	default:
	}
	s.resize <- size // room: this goroutine is the only sender
}
