package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/stream"
	"openshell-vm/internal/vocab"
)

// session is one process, the workload or an exec's, with its streams. Input, signals
// and sizes that come before the process runs wait in the stream.
type session struct {
	stream *stream.Session
	procs  *procs
	asked  chan int // signals from control messages

	mu   sync.Mutex
	live bool // the process was started, and the fields below are set

	pid    int
	done   <-chan unix.WaitStatus
	ended  chan struct{} // closed by finish
	input  *os.File      // where stdin goes; nil for nowhere
	tty    *os.File      // the terminal's master; nil without one
	pumps  sync.WaitGroup
	output []output
	cut    atomic.Bool // the host did not take all output

	// patience ends when giveUp is called: until then the host may hold output back.
	patience context.Context
	giveUp   context.CancelFunc
}

// output is one of the process's output streams.
type output struct {
	kind stream.Kind
	file *os.File
}

// pipes are the process's ends. The init closes its copies once the process runs.
type pipes struct{ in, out, err *os.File }

func (p pipes) close() {
	for _, f := range []*os.File{p.in, p.out, p.err} {
		if f != nil {
			f.Close()
		}
	}
}

// maxAsked bounds the signals that wait until the process runs. Further ones are
// dropped.
const maxAsked = 100

func newSession(from *stream.Session, procs *procs) *session {
	s := &session{stream: from, procs: procs, asked: make(chan int, maxAsked), ended: make(chan struct{})}
	s.patience, s.giveUp = context.WithCancel(context.Background())
	return s
}

// run starts p in the sandbox. If p can't be run for a reason that its user can mend,
// the error is a *notRunnable.
func (s *session) run(r *root, p vocab.Process, stdin bool) error {
	if err := r.do(func() error { return s.start(p, stdin) }); err != nil {
		s.closeFiles()
		return err
	}
	s.connect()
	return nil
}

// connect starts to copy between the host and the running process.
func (s *session) connect() {
	for _, o := range s.output {
		s.pumps.Go(func() { s.pump(o) })
	}
	go s.feed()
	go s.obey()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = true
}

// running reports whether the process has been started. It may have ended since.
func (s *session) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

// start starts p. It runs on the sandbox's thread.
func (s *session) start(p vocab.Process, stdin bool) error {
	c, err := resolve(p)
	if err != nil {
		return err
	}
	var theirs pipes
	if p.Terminal {
		theirs, err = s.openTerminal(c, p.Size)
	} else {
		theirs, err = s.openPipes(c, stdin)
	}
	defer theirs.close()
	if err != nil {
		return err
	}
	s.pid, s.done, err = s.procs.start(c.file, c.args, &syscall.ProcAttr{
		Dir:   c.dir,
		Env:   c.env,
		Files: []uintptr{theirs.in.Fd(), theirs.out.Fd(), theirs.err.Fd()},
		Sys:   &syscall.SysProcAttr{Credential: &c.cred, Setsid: true, Setctty: p.Terminal, Ctty: 0},
	})
	if err != nil {
		return execError(p.Args[0], c, err)
	}
	return nil
}

// openPipes makes three pipes. The process's user owns them, since the process may open
// them again as /dev/stdout. Without stdin, its input is /dev/null.
func (s *session) openPipes(c command, stdin bool) (theirs pipes, err error) {
	for _, o := range []struct {
		kind stream.Kind
		end  **os.File
	}{{stream.Stdout, &theirs.out}, {stream.Stderr, &theirs.err}} {
		var ours *os.File
		if ours, *o.end, err = os.Pipe(); err != nil {
			return theirs, err
		}
		s.output = append(s.output, output{o.kind, ours})
	}
	if stdin {
		theirs.in, s.input, err = os.Pipe()
	} else {
		theirs.in, err = os.Open(os.DevNull)
	}
	if err != nil {
		return theirs, err
	}
	owned := []*os.File{theirs.out, theirs.err}
	if stdin {
		owned = append(owned, theirs.in)
	}
	for _, f := range owned {
		err = errors.Join(err, f.Chown(int(c.cred.Uid), int(c.cred.Gid)))
	}
	return theirs, err
}

// openTerminal opens a new terminal. The process's user owns it.
func (s *session) openTerminal(c command, size vocab.Size) (theirs pipes, err error) {
	master, tty, err := openPTY()
	if err != nil {
		return theirs, err
	}
	s.tty, s.input = master, master
	s.output = []output{{stream.Stdout, master}}
	theirs.in = tty
	if err := tty.Chown(int(c.cred.Uid), -1); err != nil {
		return theirs, err
	}
	s.resize(size)
	if theirs.out, err = duplicate(tty); err != nil {
		return theirs, err
	}
	theirs.err, err = duplicate(tty)
	return theirs, err
}

func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// feed passes the input on. The end of the input closes a pipe; on a terminal it becomes
// endOfTransmission. If the host hangs up, the process's input stays open.
func (s *session) feed() {
	if s.input == nil {
		s.stream.DiscardInput()
		return
	}
	for {
		f, err := s.stream.Next(s.patience)
		switch {
		case err != nil:
			return
		case f.Kind == stream.Stdin:
			_, err = s.input.Write(f.Payload)
		case s.tty != nil:
			_, err = s.tty.Write([]byte{endOfTransmission})
		default:
			s.input.Close()
		}
		if err != nil { // the process does not read its input any more
			s.stream.DiscardInput()
			return
		}
	}
}

// pump sends output until it ends. When the process has ended, finish interrupts pump
// and sends the rest itself.
func (s *session) pump(o output) {
	buf := make([]byte, stream.MaxPayload)
	for {
		n, err := o.file.Read(buf)
		if n > 0 && !s.send(o.kind, buf[:n]) {
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *session) send(kind stream.Kind, p []byte) bool {
	if s.stream.Send(s.patience, kind, p) != nil {
		s.cut.Store(true)
		return false
	}
	return true
}

// obey carries out signals and sizes until the process has ended. When the host gives an
// exec up, obey kills it.
func (s *session) obey() {
	gone := s.stream.Done()
	for {
		select {
		case number := <-s.asked:
			s.signal(number)
		case number := <-s.stream.Signals():
			s.signal(number)
		case size := <-s.stream.Sizes():
			s.resize(size)
		case <-gone:
			if gone = nil; s.stream.ID() != 0 {
				s.signal(int(unix.SIGKILL))
			}
		case <-s.ended:
			return
		}
	}
}

// ask signals the process. If that does not run yet, it gets the signal at its start.
func (s *session) ask(number int) {
	select {
	case s.asked <- number:
	default:
	}
}

// signal sends a signal to the process. SIGKILL reaches its whole group.
func (s *session) signal(number int) {
	if number == int(unix.SIGKILL) {
		s.procs.killGroup(s.pid)
		return
	}
	s.procs.signal(s.pid, unix.Signal(number))
}

func (s *session) resize(size vocab.Size) {
	if s.tty == nil || size.Rows == 0 || size.Cols == 0 {
		return
	}
	control(s.tty, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
	})
}

// finish is called when the process has ended. It sends what the process had written,
// and closes its streams. It does not wait for output of processes that are left in the
// background.
func (s *session) finish() {
	for _, o := range s.output {
		o.file.SetReadDeadline(longAgo)
	}
	s.pumps.Wait()
	for _, o := range s.output {
		s.drain(o)
	}
	close(s.ended)
	s.giveUp()
	s.closeFiles()
}

// maxLeft is the most that a pipe can hold.
const maxLeft = 1 << 20

// drain sends what can be read without waiting.
func (s *session) drain(o output) {
	buf := make([]byte, stream.MaxPayload)
	for sent := 0; sent < maxLeft; {
		var n int
		control(o.file, func(fd int) (err error) { n, err = unix.Read(fd, buf); return })
		if n <= 0 {
			return
		}
		if !s.send(o.kind, buf[:n]) {
			return
		}
		sent += n
	}
}

func (s *session) closeFiles() {
	if s.input != nil {
		s.input.Close()
	}
	for _, o := range s.output {
		o.file.Close()
	}
}

// control runs f on a file's descriptor. Unlike Fd it does not put the file into
// blocking mode.
func control(file *os.File, f func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := conn.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return err
	}
	return result
}
