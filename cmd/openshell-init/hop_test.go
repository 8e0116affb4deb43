package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/stream"
	"openshell-vm/internal/stream/streamtest"
	"openshell-vm/internal/vocab"
)

// TestSessionHop sends an exec's bytes between the monitor and a process started by the
// init. The process is a puppet: the test holds its streams.
func TestSessionHop(t *testing.T) {
	run := func(t *testing.T, terminal bool) streamtest.Run { // one reaper at a time
		ours, theirs := hostOf(t)
		h := &puppets{t: t, ours: ours, theirs: theirs, procs: reaping(t), terminal: terminal}
		return h.run
	}
	for name, c := range map[string]func(*testing.T, streamtest.Run){
		"input":    streamtest.InputWaits,
		"output":   streamtest.OutputWaits,
		"dead":     streamtest.DeadClient,
		"sessions": streamtest.Sessions,
		"ends":     streamtest.Ends,
	} {
		t.Run(name, func(t *testing.T) { c(t, run(t, false)) })
	}
	t.Run("signal", func(t *testing.T) { streamtest.SignalBehindInput(t, run(t, true)) })
}

const puppetVar = "OPENSHELL_TEST_PUPPET"

// A puppet is this program, started again. It sends its streams to the test, and a byte
// for each signal that it gets. The first byte that it receives is its exit code.
func init() {
	path := os.Getenv(puppetVar)
	if path == "" {
		return
	}
	got := make(chan os.Signal, 16)
	signal.Notify(got, unix.SIGINT, unix.SIGWINCH)
	conn, err := net.Dial("unix", path)
	if err != nil {
		os.Exit(99)
	}
	_, _, err = conn.(*net.UnixConn).WriteMsgUnix([]byte{0}, unix.UnixRights(0, 1, 2), nil)
	if err != nil {
		os.Exit(99)
	}
	go func() {
		for s := range got {
			_, _ = conn.Write([]byte{byte(s.(syscall.Signal))})
		}
	}()
	code := make([]byte, 1)
	if _, err := io.ReadFull(conn, code); err != nil {
		os.Exit(99)
	}
	os.Exit(int(code[0]))
}

type puppets struct {
	t            *testing.T
	ours, theirs *stream.Conn
	procs        *procs
	terminal     bool
}

func (h *puppets) run(ctx context.Context, ends stream.Streams, process streamtest.Process) (int, error) {
	host, err := h.ours.Open()
	if err != nil {
		return 0, err
	}
	defer host.Close()
	if err := h.start(host.ID(), process); err != nil {
		return 0, err
	}
	last, err := host.Connect(ctx, ends)
	if err != nil {
		return 0, err
	}
	return stream.DecodeExit(last.Payload)
}

// start starts a puppet as the supervisor starts an exec.
func (h *puppets) start(id uint32, process streamtest.Process) error {
	from, err := h.theirs.Accept(id)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "puppet")
	if err != nil {
		return err
	}
	h.t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	s, self := newSession(from, h.procs), command{cred: syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}}
	var child pipes
	if h.terminal {
		if child, err = s.openTerminal(self, vocab.Size{}); err == nil {
			err = raw(child.in)
		}
	} else {
		child, err = s.openPipes(self, true)
	}
	if err != nil {
		return err
	}
	s.pid, s.done, err = h.procs.start("/proc/self/exe", []string{"puppet"}, &syscall.ProcAttr{
		Files: []uintptr{child.in.Fd(), child.out.Fd(), child.err.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: h.terminal}, Env: append(os.Environ(), puppetVar+"="+path),
	})
	child.close()
	if err != nil {
		return err
	}
	go pull(h.t, l, process)
	s.connect()
	go func() {
		status := <-s.done
		s.finish()
		s.stream.Exit(exitCode(status))
		s.stream.Close()
	}()
	return nil
}

// raw sets a terminal to raw mode: it keeps input that nobody reads and turns none into
// a signal.
func raw(tty *os.File) error {
	mode, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	mode.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
	mode.Iflag &^= unix.IXON
	return unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, mode)
}

// pull plays process with a puppet's streams.
func pull(t *testing.T, l net.Listener, process streamtest.Process) {
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	files, err := streamsOf(c.(*net.UnixConn))
	if err != nil {
		t.Error(err)
		return
	}
	ctx, die := context.WithCancel(context.Background())
	sizes, signals := make(chan stream.Size, 16), make(chan int, 16)
	go func() {
		defer die()
		for b := make([]byte, 1); ; {
			if _, err := c.Read(b); err != nil {
				return
			}
			if syscall.Signal(b[0]) != unix.SIGWINCH {
				signals <- int(b[0])
			} else if w, err := unix.IoctlGetWinsize(int(files[0].Fd()), unix.TIOCGWINSZ); err == nil {
				sizes <- stream.Size{Rows: w.Row, Cols: w.Col}
			}
		}
	}()
	code := process(ctx, stream.Streams{Stdin: mortal{ctx, files[0]}, Stdout: files[1], Stderr: files[2], Resize: sizes, Signals: signals})
	for _, f := range files {
		f.Close()
	}
	_, _ = c.Write([]byte{byte(code)})
	<-ctx.Done()
}

// streamsOf takes a puppet's standard streams.
func streamsOf(c *net.UnixConn) (files []*os.File, err error) {
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(3*4))
	_, n, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(err, errors.New("no descriptors"))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	for _, fd := range fds {
		unix.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "puppet's"))
	}
	return files, err
}

// mortal is a puppet's input. It ends with an error, not with EOF, if the puppet was
// killed.
type mortal struct {
	living context.Context
	r      io.Reader
}

func (m mortal) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil {
		select {
		case <-m.living.Done():
			return 0, errors.New("killed")
		case <-time.After(500 * time.Millisecond):
		}
	}
	return n, err
}
