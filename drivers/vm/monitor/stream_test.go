package monitor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/internal/peer"
	"openshell-vm/internal/rotlog"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/stream/streamtest"
)

// processes are what a fake guest runs, by the command's name.
type processes struct {
	next atomic.Int64
	byID sync.Map
	stop func()       // what the host's Stop does; nil for nothing
	conn *stream.Conn // of the control port
}

// add gives p a command.
func (p *processes) add(process streamtest.Process) drivers.Process {
	name := strconv.FormatInt(p.next.Add(1), 10)
	p.byID.Store(name, process)
	return drivers.Process{Args: []string{name}}
}

// serve runs execs as the init does, until the VM ends.
func (p *processes) serve(g *fakeGuest) {
	var c *stream.Conn
	c = stream.New(g.control, stream.Options{Process: true, Credit: true, MaxMessage: stream.MaxMessage, Message: func(id uint32, data []byte) error {
		var m guest.Message
		if err := json.Unmarshal(data, &m); err != nil || m.Exec == nil {
			if m.Stop != nil && p.stop != nil {
				go p.stop()
			}
			return err
		}
		s, err := c.Accept(id)
		if err != nil {
			return err
		}
		process, _ := p.byID.Load(m.Exec.Process.Args[0])
		go streamtest.Serve(c, s, process.(streamtest.Process))
		return nil
	}})
	p.conn = c
	c.Run()
}

// TestExecHop is the way of an exec's bytes from the gateway to the guest and back.
func TestExecHop(t *testing.T) {
	streamtest.Test(t, func(t *testing.T) streamtest.Run {
		var all processes
		cfg, ready, _ := startMonitor(t, nil, func(g *fakeGuest) {
			g.boot()
			all.serve(g)
		})
		wantRunning(t, ready)
		t.Cleanup(func() { ask(t, cfg, Request{Stop: &StopRequest{Grace: -1}}) })
		return func(ctx context.Context, ends stream.Streams, p streamtest.Process) (int, error) {
			c, err := Dial(cfg.RunDir)
			if err != nil {
				return 0, err
			}
			defer c.Close()
			return c.Stream(ctx, StreamRequest{Exec: &ExecRequest{Process: all.add(p), Stdin: true}}, ends)
		}
	})
}

// TestAttachHop is the way of the workload's: its output goes to the log, which
// waits for attached clients. The exit code is the workload's, which ends with it.
func TestAttachHop(t *testing.T) {
	open := func(t *testing.T) streamtest.Run {
		return func(ctx context.Context, ends stream.Streams, p streamtest.Process) (int, error) {
			cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
				g.boot()
				c, s := stream.Single(g.stdio, stream.Options{Process: true, Credit: true})
				signals := make(chan int, 1)
				go g.until(func(m guest.Message) bool {
					if m.Signal != nil {
						signals <- m.Signal.Number
					}
					return false
				})
				ends := s.Streams()
				ends.Signals = signals
				code := p(context.Background(), ends)
				g.send(guest.Message{Ending: &guest.Ending{}})
				s.Exit(code)
				c.Flush(context.Background())
				g.send(guest.Message{Exited: &guest.Exited{Code: code}})
			})
			t.Cleanup(func() { await(t, end) })
			wantRunning(t, ready)
			c, err := Dial(cfg.RunDir)
			if err != nil {
				return 0, err
			}
			defer c.Close()
			return c.Stream(ctx, StreamRequest{Attach: &AttachRequest{Replay: true, Hold: true}}, ends)
		}
	}
	streamtest.TestAttached(t, open)
}

// A client that never reads holds the workload's output up and nothing else. The VM
// ends as ever, may be started again, and the client still gets all of it.
func TestAClientThatNeverReads(t *testing.T) {
	out := streamtest.NewSource(streamtest.Big)
	var all processes
	cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		c, s := stream.Single(g.stdio, stream.Options{Process: true, Credit: true})
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			io.Copy(s.Streams().Stdout, out)
		}()
		all.stop = func() {
			<-wrote
			s.Exit(143)
			c.Flush(context.Background())
			all.conn.Send(0, guest.Message{Exited: &guest.Exited{Code: 143}})
		}
		all.serve(g)
	})
	wantRunning(t, ready)
	read := make(chan struct{})
	var got streamtest.Sum
	attached := streamed(t, cfg, StreamRequest{Attach: &AttachRequest{Replay: true, Hold: true}}, drivers.Streams{Stdout: gatedBy{read, &got}})
	waitFor(t, func() bool {
		r, err := ask(t, cfg, Request{Status: &struct{}{}})
		return err == nil && strings.Contains(r.Output, "does not read")
	})
	hello := all.add(func(_ context.Context, s stream.Streams) int { io.WriteString(s.Stdout, "hello"); return 3 })
	var said bytes.Buffer
	if o := await(t, streamed(t, cfg, StreamRequest{Exec: &ExecRequest{Process: hello}}, drivers.Streams{Stdout: &said})); o.code != 3 || said.String() != "hello" {
		t.Errorf("exec: %+v, %q", o, &said)
	}
	if _, err := ask(t, cfg, Request{Stop: &StopRequest{Grace: time.Second}}); err != nil {
		t.Error(err)
	}
	waitFor(t, func() bool { return !Alive(cfg.Dir) })
	wantExit(t, cfg, Exit{State: drivers.Exited, ExitCode: 143})
	if !missing(cfg.RunDir, SocketFile) {
		t.Error("the socket is left behind")
	}
	lock, err := Lock(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	again, err := rotlog.Open(cfg.file(StdioFile), stdioLog(logSize, logCount))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	close(read)
	if o := await(t, attached); o.code != 143 || o.err != nil {
		t.Errorf("attach: %+v", o)
	}
	if got.String() != out.Sum() {
		t.Errorf("written %s, arrived %s", out.Sum(), got.String())
	}
	await(t, end)
}

// gatedBy holds writes back until open is closed.
type gatedBy struct {
	open <-chan struct{}
	w    io.Writer
}

func (g gatedBy) Write(p []byte) (int, error) { <-g.open; return g.w.Write(p) }

// A client that is gone leaves the workload its input: another may attach.
func TestAHangupEndsNoInput(t *testing.T) {
	got := make(chan stream.Frame, 10)
	cfg, ready, _ := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		for in := stream.NewReader(g.stdio); ; {
			f, err := in.Read()
			if err != nil {
				return
			}
			f.Payload = bytes.Clone(f.Payload)
			got <- f
		}
	})
	wantRunning(t, ready)
	for _, text := range []string{"first", "second"} {
		ctx, cancel := context.WithCancel(t.Context())
		in, typed := io.Pipe()
		attached := streamedFor(t, ctx, cfg, attachAll, drivers.Streams{Stdin: in})
		io.WriteString(typed, text)
		if f := await(t, got); f.Kind != stream.Stdin || string(f.Payload) != text {
			t.Errorf("%+v, %q", f, f.Payload)
		}
		cancel()
		await(t, attached)
		typed.Close()
	}
	ask(t, cfg, Request{Stop: &StopRequest{Grace: -1}})
}

// TestHostileGuests: a guest that breaks the protocol ends its VM, with a reason,
// and has the monitor keep nothing.
func TestHostileGuests(t *testing.T) {
	full := bytes.Repeat([]byte(" "), stream.MaxPayload)
	for name, c := range map[string]struct {
		reason string
		do     func(g *fakeGuest) error // again and again
	}{
		"parts of messages in many sessions": {"a control message in session", func(g *fakeGuest) error { return g.ctl.Write(stream.Control, 1, full) }},
		"a message without end":              {"a control message of more than", func(g *fakeGuest) error { return g.ctl.Write(stream.Control, 0, full) }},
		"messages without end": {"more control messages than can be read", func(g *fakeGuest) error {
			return g.ctl.Write(stream.Control, 0, []byte("{}"))
		}},
		"no JSON":                          {"no JSON", func(g *fakeGuest) error { return g.ctl.Write(stream.Control, 0, []byte("{nonsense")) }},
		"a session that was never opened":  {"never opened", func(g *fakeGuest) error { return g.ctl.Write(stream.Stdout, 77, nil) }},
		"bytes in the control's session 0": {"never opened", func(g *fakeGuest) error { return g.ctl.Write(stream.Stdout, 0, nil) }},
		"empty frames to a stalled client": {"more than there was room for", func(g *fakeGuest) error { return g.ctl.Write(stream.Stdout, 1, nil) }},
		"small frames to a stalled client": {"more than there was room for", func(g *fakeGuest) error {
			g.ctl.Write(stream.Stderr, 1, []byte("e"))
			return g.ctl.Write(stream.Stdout, 1, []byte("o"))
		}},
		"a message on the stdio port": {"where none belongs", func(g *fakeGuest) error { return g.out.Write(stream.Control, 0, full) }},
		"a session on the stdio port": {"never opened", func(g *fakeGuest) error { return g.out.Write(stream.Stdout, 1, full) }},
		"input from the stdio port":   {"from the wrong side", func(g *fakeGuest) error { return g.out.Write(stream.Stdin, 0, nil) }},
		"a frame longer than any may be": {"at most", func(g *fakeGuest) error {
			_, err := g.control.Write([]byte{3, 0, 0, 1, 0xff, 0, 0, 0})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			opened, stalled := make(chan struct{}), make(chan struct{})
			cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
				g.boot()
				g.until(func(m guest.Message) bool { return m.Exec != nil })
				close(opened)
				go io.Copy(io.Discard, g.control)
				before := heap()
				for g.monitor.control.broken() == nil {
					if err := c.do(g); err != nil {
						break
					}
				}
				if grown := heap() - before; grown > 32<<20 {
					t.Errorf("the monitor has grown by %d MiB", grown>>20)
				}
				close(stalled)
			})
			wantRunning(t, ready)
			streamed(t, cfg, execOf("cat"), drivers.Streams{Stdout: blocked{stalled}, Stderr: blocked{stalled}})
			await(t, opened)
			await(t, end)
			e, err := ReadExit(cfg.Dir)
			if err != nil || e.State != drivers.Dead || !strings.HasPrefix(e.Reason, "the guest broke the protocol: ") || !strings.Contains(e.Reason, c.reason) {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// blocked takes nothing until it is released.
type blocked struct{ until <-chan struct{} }

func (b blocked) Write(p []byte) (int, error) { <-b.until; return len(p), nil }

// oldMonitor is the server of a monitor from before there was credit.
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

// oldGuest loses input of an exec when too much of it is under way.
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

// oldEcho gives input back, and ends with it or with a signal. It heeds no
// credit, and gives none.
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

// A VM that an older version started goes on to be served.
func TestAnOldMonitor(t *testing.T) {
	cfg := Config{Machine: hypervisor.Machine{RunDir: oldMonitor(t)}}
	if r, err := ask(t, cfg, Request{Status: &struct{}{}}); err != nil || r.State != drivers.Running {
		t.Errorf("status: %+v, %v", r, err)
	}
	for name, r := range map[string]StreamRequest{"attach": attachAll, "exec": execOf("cat")} {
		var out bytes.Buffer
		text := strings.Repeat("x", 3<<20)
		o := await(t, streamed(t, cfg, r, drivers.Streams{Stdin: strings.NewReader(text), Stdout: &out}))
		if o.code != 5 || o.err != nil || out.String() != text {
			t.Errorf("%s: %+v, %d bytes", name, o, out.Len())
		}
		signals := make(chan int, 1)
		signals <- 2
		if o := await(t, streamed(t, cfg, r, drivers.Streams{Signals: signals})); o.code != 130 || o.err != nil {
			t.Errorf("%s: %+v", name, o)
		}
		ctx, cancel := context.WithCancel(t.Context())
		detached := streamedFor(t, ctx, cfg, r, drivers.Streams{})
		cancel()
		if o := await(t, detached); !errors.Is(o.err, context.Canceled) {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

// Who attaches with more input than an old VM may take is told, once.
func TestAnOldMonitorsWorkload(t *testing.T) {
	cfg := Config{Machine: hypervisor.Machine{RunDir: oldMonitor(t)}}
	var told bytes.Buffer
	in := strings.NewReader(strings.Repeat("x", oldLimit+(1<<20)))
	if o := await(t, streamed(t, cfg, attachAll, drivers.Streams{Stdin: in, Stderr: &told})); o.code != 5 || o.err != nil || told.String() != oldWarning {
		t.Errorf("%+v, %q", o, &told)
	}
}

// A gateway that runs on from before an upgrade starts VMs with a new monitor.
func TestAnOldGateway(t *testing.T) {
	cfg, ready, _ := startMonitor(t, nil, func(g *fakeGuest) { g.boot(); echo(g) })
	wantRunning(t, ready)
	c, err := peer.DialIn(t.Context(), cfg.RunDir, SocketFile)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, out := stream.NewReader(c), stream.NewWriter(c)
	stream.WriteJSON(out, 0, map[string]any{"exec": map[string]any{"process": map[string]any{"args": []string{"cat"}}, "stdin": true}})
	out.Write(stream.Stdin, 0, []byte("hello"))
	out.Write(stream.StdinClose, 0, nil)
	for _, want := range []stream.Frame{{Kind: stream.Stdout, Payload: []byte("hello")}, {Kind: stream.Exit, Payload: stream.EncodeExit(5)}} {
		f, err := in.Read()
		if err != nil || f.Kind != want.Kind || !bytes.Equal(f.Payload, want.Payload) {
			t.Errorf("%+v, %v; want %+v", f, err, want)
		}
	}
}
