package api

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/peer"
	"openshell-vm/internal/stream"
)

var attachAll = StreamRequest{Attach: &AttachRequest{Replay: true}}

func dialed(t *testing.T, runDir string) *Client {
	t.Helper()
	c, err := Dial(runDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// outcome is what a streaming request returned.
type outcome struct {
	code int
	err  error
}

func streamed(t *testing.T, ctx context.Context, runDir string, r StreamRequest, s drivers.Streams) <-chan outcome {
	t.Helper()
	c := dialed(t, runDir)
	result := make(chan outcome, 1)
	go func() {
		code, err := c.Stream(ctx, r, s)
		result <- outcome{code, err}
	}()
	return result
}

func await(t *testing.T, c <-chan outcome) outcome {
	t.Helper()
	select {
	case o := <-c:
		return o
	case <-time.After(2 * time.Minute): // generous: nothing here promises speed
		t.Fatal("nothing came in time")
		panic("unreachable")
	}
}

// oldMonitor is the server of a monitor of a version without credit.
func oldMonitor(t *testing.T) (runDir string) {
	runDir = t.TempDir()
	l, err := peer.ListenIn(runDir, SocketFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var guest oldGuest
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				guest.answer(stream.NewReader(c), stream.NewWriter(c))
			}()
		}
	}()
	return runDir
}

// oldGuest loses input of an exec when too much is under way.
type oldGuest struct{ underWay atomic.Int64 }

func (g *oldGuest) answer(in *stream.Reader, out *stream.Writer) {
	var r struct {
		Status *struct{}
		Attach *AttachRequest
		Exec   *ExecRequest
	}
	if err := stream.ReadJSON(in, &r); err != nil {
		return
	}
	switch {
	case r.Status != nil:
		stream.WriteJSON(out, 0, map[string]any{"state": "running"})
	case r.Exec != nil && len(r.Exec.Process.Args) == 0:
		g.underWay.Store(0)
		out.Write(stream.Error, 0, []byte("there is no command"))
	case r.Exec != nil:
		oldEcho(in, out, func(n int) bool { return g.underWay.Add(int64(n)) < 96<<10 })
	case r.Attach != nil:
		oldEcho(in, out, func(int) bool { return true })
	default:
		stream.WriteJSON(out, 0, map[string]any{"problem": "this monitor does not know the request; it is older than the gateway"})
	}
}

// oldEcho writes its input back. It ends at the end of input or on a signal. It
// ignores credit and gives none.
func oldEcho(in *stream.Reader, out *stream.Writer, takes func(n int) bool) {
	for {
		f, err := in.Read()
		if err != nil {
			return
		}
		switch f.Kind {
		case stream.Stdin:
			if takes(len(f.Payload)) {
				out.Write(stream.Stdout, 0, f.Payload)
			}
		case stream.StdinClose:
			out.Write(stream.Exit, 0, stream.EncodeExit(5))
			return
		case stream.Signal:
			out.Write(stream.Exit, 0, stream.EncodeExit(128+int(f.Payload[0])))
			return
		case stream.Resize:
			out.Write(stream.Stderr, 0, f.Payload)
		default:
			out.Write(stream.Error, 0, []byte("an old monitor does not know kind "+strconv.Itoa(int(f.Kind))))
			return
		}
	}
}

// TestAnOldMonitor checks that a VM which an older version started is still served.
func TestAnOldMonitor(t *testing.T) {
	runDir := oldMonitor(t)
	if r, err := dialed(t, runDir).Do(t.Context(), Request{Status: &struct{}{}}); err != nil || r.State != drivers.Running {
		t.Errorf("status: %+v, %v", r, err)
	}
	for name, r := range map[string]StreamRequest{"attach": attachAll, "exec": {Exec: &ExecRequest{Process: drivers.Process{Args: []string{"cat"}}, Stdin: true}}} {
		var out bytes.Buffer
		text := strings.Repeat("x", 3<<20)
		o := await(t, streamed(t, t.Context(), runDir, r, drivers.Streams{Stdin: strings.NewReader(text), Stdout: &out}))
		if o.code != 5 || o.err != nil || out.String() != text {
			t.Errorf("%s: %+v, %d bytes", name, o, out.Len())
		}
		signals := make(chan int, 1)
		signals <- 2
		if o := await(t, streamed(t, t.Context(), runDir, r, drivers.Streams{Signals: signals})); o.code != 130 || o.err != nil {
			t.Errorf("%s: %+v", name, o)
		}
		ctx, cancel := context.WithCancel(t.Context())
		detached := streamed(t, ctx, runDir, r, drivers.Streams{})
		cancel()
		if o := await(t, detached); !errors.Is(o.err, context.Canceled) {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

// TestAnOldMonitorsWorkload attaches with more input than an old VM may take: the
// client gets one note about it.
func TestAnOldMonitorsWorkload(t *testing.T) {
	runDir := oldMonitor(t)
	var told bytes.Buffer
	in := strings.NewReader(strings.Repeat("x", oldLimit+(1<<20)))
	if o := await(t, streamed(t, t.Context(), runDir, attachAll, drivers.Streams{Stdin: in, Stderr: &told})); o.code != 5 || o.err != nil || told.String() != oldWarning {
		t.Errorf("%+v, %q", o, &told)
	}
}
