package main

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/internal/stream"
)

// session is one process, the workload or an exec, with its streams framed.
// Frames may come for it before the process runs: they are kept until then.
type session struct {
	id    uint32
	port  *stream.Writer
	procs *procs

	mu    sync.Mutex
	live  bool // the process runs: what is below gate is set
	early []stream.Frame

	stdin  *inbox
	gate   gate // what holds output back
	pid    int
	done   <-chan unix.WaitStatus
	input  *os.File // where stdin goes; nil for nowhere
	tty    *os.File // the terminal's master; nil without one
	pumps  sync.WaitGroup
	output []output
}

// output is one of the process's output streams.
type output struct {
	kind stream.Kind
	file *os.File
}

// pipes are the process's ends; the init closes them once it runs.
type pipes struct{ in, out, err *os.File }

func (p pipes) close() {
	for _, f := range []*os.File{p.in, p.out, p.err} {
		if f != nil {
			f.Close()
		}
	}
}

func newSession(id uint32, port *stream.Writer, procs *procs) *session {
	s := &session{id: id, port: port, procs: procs}
	s.stdin = newInbox(
		func() { port.Write(stream.Pause, id, nil) },
		func() { port.Write(stream.Continue, id, nil) })
	return s
}

// run runs p in the sandbox. An error that is the user's is a *notRunnable.
func (s *session) run(r *root, p drivers.Process, stdin bool) error {
	if err := r.do(func() error { return s.start(p, stdin) }); err != nil {
		s.closeFiles()
		return err
	}
	for _, o := range s.output {
		s.pumps.Go(func() { s.pump(o) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.early {
		s.handle(f)
	}
	s.live, s.early = true, nil
	return nil
}

// running says whether the process has been started; it may have ended since.
func (s *session) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

// start runs on the sandbox's thread.
func (s *session) start(p drivers.Process, stdin bool) error {
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
		return execError(p.Args[0], err)
	}
	s.connectStdin()
	return nil
}

// openPipes gives three pipes that the process's user owns, as it may open
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

// openTerminal gives a new terminal that the process's user owns.
func (s *session) openTerminal(c command, size drivers.Size) (theirs pipes, err error) {
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
	s.resize(size.Rows, size.Cols)
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

// connectStdin feeds the process. The end of input closes a pipe; on a
// terminal it is the character that means it.
func (s *session) connectStdin() {
	if s.input == nil {
		s.stdin.giveUp()
		return
	}
	go func() {
		s.stdin.feed(s.input)
		if s.tty != nil {
			s.tty.Write([]byte{endOfTransmission})
			return
		}
		s.input.Close()
	}()
}

// pump frames output until its end. The end of the process interrupts it:
// what is left then is finish's.
func (s *session) pump(o output) {
	buf := make([]byte, stream.MaxPayload)
	for {
		s.gate.wait()
		n, err := o.file.Read(buf)
		if n > 0 && s.port.Write(o.kind, s.id, buf[:n]) != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// maxEarly bounds the window sizes and signals that are kept until the process
// runs. More of them mean nothing more.
const maxEarly = 100

// take takes a frame from the host. It does not block for long.
func (s *session) take(f stream.Frame) {
	switch f.Kind {
	case stream.Stdin:
		if !s.stdin.add(f.Payload) {
			logf("session %d: the host sends input faster than it is read, in spite of being told", s.id)
		}
	case stream.StdinClose:
		s.stdin.close()
	case stream.Pause:
		s.gate.shut()
	case stream.Continue:
		s.gate.open()
	case stream.Resize, stream.Signal:
		s.whenLive(f)
	}
}

// whenLive handles a frame now, or else as soon as the process runs.
func (s *session) whenLive(f stream.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live {
		s.handle(f)
	} else if len(s.early) < maxEarly {
		f.Payload = bytes.Clone(f.Payload)
		s.early = append(s.early, f)
	}
}

func (s *session) handle(f stream.Frame) {
	switch f.Kind {
	case stream.Resize:
		if rows, cols, err := stream.DecodeSize(f.Payload); err == nil {
			s.resize(rows, cols)
		}
	case stream.Signal:
		if len(f.Payload) == 1 {
			s.signal(int(f.Payload[0]))
		}
	}
}

// signal sends a signal to the process. SIGKILL is how the host ends an exec
// whose client is gone: it reaches the whole group, and nobody waits for the
// output any more.
func (s *session) signal(number int) {
	if number == int(unix.SIGKILL) {
		s.procs.killGroup(s.pid)
		s.gate.open()
		return
	}
	s.procs.signal(s.pid, unix.Signal(number))
}

func (s *session) resize(rows, cols uint16) {
	if s.tty == nil || rows == 0 || cols == 0 {
		return
	}
	control(s.tty, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

// last sends the session's last frame.
func (s *session) last(kind stream.Kind, payload []byte) { s.port.Write(kind, s.id, payload) }

// finish is called when the process has ended: it sends what the process had
// written until then, and closes its streams. Output of what it left behind in
// the background is not waited for.
func (s *session) finish() {
	for _, o := range s.output {
		o.file.SetReadDeadline(longAgo)
	}
	s.pumps.Wait()
	for _, o := range s.output {
		s.drain(o)
	}
	s.stdin.close()
	s.stdin.giveUp()
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
		s.gate.wait()
		if s.port.Write(o.kind, s.id, buf[:n]) != nil {
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

// control runs f on a file's descriptor and leaves the file as it is, which
// Fd would make a blocking one.
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
