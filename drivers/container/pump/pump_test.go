package pump

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/stream/streamtest"
)

// TestPumpHop is the way of an exec's bytes between the gateway and an engine.
func TestPumpHop(t *testing.T) {
	run := func(terminal bool) streamtest.Run {
		return func(ctx context.Context, ends drivers.Streams, p streamtest.Process) (int, error) {
			return pumpHop(t, ctx, ends, p, terminal)
		}
	}
	for name, c := range map[string]func(*testing.T, streamtest.Run){
		"input":    streamtest.InputWaits,
		"output":   streamtest.OutputWaits,
		"dead":     streamtest.DeadClient,
		"sessions": streamtest.Sessions,
		"ends":     streamtest.Ends,
	} {
		t.Run(name, func(t *testing.T) { c(t, run(false)) })
	}
	t.Run("signal", func(t *testing.T) { streamtest.SignalBehindInput(t, run(true)) })
}

// pumpHop plays an engine. What ends its process is, as with a real one, the signal
// that the driver sends, and not that its connection is closed.
func pumpHop(t *testing.T, ctx context.Context, ends drivers.Streams, process streamtest.Process, terminal bool) (int, error) {
	near, far := connected(t)
	living, kill := context.WithCancel(t.Context())
	defer kill()
	sizes, signals := make(chan drivers.Size, 1), make(chan int, 1)
	theirs := drivers.Streams{Stdin: mortal{living, far}, Stdout: far, Stderr: far, Resize: sizes, Signals: signals}
	if !terminal {
		theirs.Stdout, theirs.Stderr = stdcopy.NewStdWriter(far, stdcopy.Stdout), stdcopy.NewStdWriter(far, stdcopy.Stderr)
	}
	code := make(chan int, 1)
	go func() {
		defer far.Close()
		code <- process(living, theirs)
	}()
	err := Pump{
		Output: near, Input: near, Terminal: terminal, Streams: ends,
		Resize:  func(s drivers.Size) error { sizes <- s; return nil },
		Signal:  func(n int) { signals <- n },
		Abandon: kill,
	}.Run(ctx, near)
	if err != nil && !IsReset(err) {
		return 0, err
	}
	return <-code, nil
}

// mortal is the input of a process that, once killed, reads no end of it.
type mortal struct {
	living context.Context
	r      io.Reader
}

func (m mortal) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if m.living.Err() != nil {
		return 0, errors.New("killed")
	}
	return n, err
}

func connected(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "engine")
		conn, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = conn.(*net.UnixConn)
		t.Cleanup(func() { conn.Close() })
	}
	return ends[0], ends[1]
}

func TestPumpKeepsStreamsApart(t *testing.T) {
	var wire, out, problems bytes.Buffer
	stdcopy.NewStdWriter(&wire, stdcopy.Stdout).Write([]byte("out"))
	stdcopy.NewStdWriter(&wire, stdcopy.Stderr).Write([]byte("problem"))
	p := Pump{Output: &wire, Streams: drivers.Streams{Stdout: &out, Stderr: &problems}}
	if err := p.Run(t.Context()); err != nil || out.String() != "out" || problems.String() != "problem" {
		t.Errorf("%q, %q, %v", out.String(), problems.String(), err)
	}
	out.Reset()
	p = Pump{Output: strings.NewReader("raw"), Terminal: true, Streams: drivers.Streams{Stdout: &out}}
	if err := p.Run(t.Context()); err != nil || out.String() != "raw" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// The end of input is passed on, and nothing of a client that hangs up is.
func TestPumpTellsAnEndFromAHangup(t *testing.T) {
	for _, c := range []struct {
		end      error
		terminal bool
		typed    string
		closed   bool
	}{
		{io.EOF, true, "hello\x04", false},
		{io.EOF, false, "hello", true},
		{stream.ErrHangup, true, "hello", false},
		{stream.ErrHangup, false, "hello", false},
	} {
		var to recorder
		in := io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(c.end))
		Pump{Input: &to, Terminal: c.terminal, Streams: drivers.Streams{Stdin: in}}.feed()
		if to.String() != c.typed || to.closed != c.closed {
			t.Errorf("%v, terminal %v: %q was typed, closed %v", c.end, c.terminal, to.String(), to.closed)
		}
	}
}

// A size that can't be set yet is tried again; a newer one takes its place.
func TestPumpResizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, release := io.Pipe()
		sizes := make(chan drivers.Size, 1)
		var ready atomic.Bool
		var set []drivers.Size
		p := Pump{Output: hold, Terminal: true, Streams: drivers.Streams{Resize: sizes},
			Resize: func(s drivers.Size) error {
				if !ready.Load() {
					return errors.New("nothing runs")
				}
				set = append(set, s)
				return nil
			}}
		done := make(chan error, 1)
		go func() { done <- p.Run(t.Context(), hold) }()
		sizes <- drivers.Size{Rows: 1, Cols: 1}
		time.Sleep(time.Second)
		sizes <- drivers.Size{Rows: 2, Cols: 2}
		synctest.Wait()
		ready.Store(true)
		time.Sleep(time.Second)
		release.Close()
		if err := <-done; err != nil || len(set) != 1 || set[0].Rows != 2 {
			t.Errorf("%v, %v", set, err)
		}
	})
}

// recorder is a container's input.
type recorder struct {
	bytes.Buffer
	closed bool
}

func (r *recorder) CloseWrite() error { r.closed = true; return nil }
func (r *recorder) Close() error      { return nil }
