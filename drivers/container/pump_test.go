package container

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
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
	err := pump{
		output: near, input: near, terminal: terminal, streams: ends,
		resize:  func(s drivers.Size) error { sizes <- s; return nil },
		signal:  func(n int) { signals <- n },
		abandon: kill,
	}.run(ctx, near)
	if err != nil && !isReset(err) {
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
