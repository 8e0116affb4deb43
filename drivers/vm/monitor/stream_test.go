package monitor

import (
	"bytes"
	"context"
	"encoding/json"
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
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
	"openshell-vm/internal/peer"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/stream/streamtest"
)

// processes are the fake guest's programs, by the command's name.
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

// TestExecHop sends an exec's bytes from the gateway to the guest and back.
func TestExecHop(t *testing.T) {
	streamtest.Test(t, func(t *testing.T) streamtest.Run {
		var all processes
		cfg, ready, _ := startMonitor(t, nil, func(g *fakeGuest) {
			g.boot()
			all.serve(g)
		})
		wantRunning(t, ready)
		t.Cleanup(func() { ask(t, cfg, api.Request{Stop: &api.StopRequest{Grace: -1}}) })
		return func(ctx context.Context, ends stream.Streams, p streamtest.Process) (int, error) {
			c, err := api.Dial(cfg.RunDir)
			if err != nil {
				return 0, err
			}
			defer c.Close()
			return c.Stream(ctx, api.StreamRequest{Exec: &api.ExecRequest{Process: all.add(p), Stdin: true}}, ends)
		}
	})
}

// TestAttachHop does the same with the workload's bytes. Its output goes to the log,
// which waits for attached clients. The VM ends with the workload.
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
			c, err := api.Dial(cfg.RunDir)
			if err != nil {
				return 0, err
			}
			defer c.Close()
			return c.Stream(ctx, api.StreamRequest{Attach: &api.AttachRequest{Replay: true, Hold: true}}, ends)
		}
	}
	streamtest.TestAttached(t, open)
}

// TestAClientThatNeverReads checks that such a client delays the workload's output and
// nothing else. The VM ends as usual and may be started again, and the client can still
// read all of the output.
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
	attached := streamed(t, cfg, api.StreamRequest{Attach: &api.AttachRequest{Replay: true, Hold: true}}, drivers.Streams{Stdout: gatedBy{read, &got}})
	waitFor(t, func() bool {
		r, err := ask(t, cfg, api.Request{Status: &struct{}{}})
		return err == nil && strings.Contains(r.Output, "does not read")
	})
	hello := all.add(func(_ context.Context, s stream.Streams) int { io.WriteString(s.Stdout, "hello"); return 3 })
	var said bytes.Buffer
	if o := await(t, streamed(t, cfg, api.StreamRequest{Exec: &api.ExecRequest{Process: hello}}, drivers.Streams{Stdout: &said})); o.code != 3 || said.String() != "hello" {
		t.Errorf("exec: %+v, %q", o, &said)
	}
	if _, err := ask(t, cfg, api.Request{Stop: &api.StopRequest{Grace: time.Second}}); err != nil {
		t.Error(err)
	}
	waitFor(t, func() bool { return !Alive(cfg.Dir) })
	wantExit(t, cfg, Exit{State: drivers.Exited, ExitCode: 143})
	if !missing(cfg.RunDir, api.SocketFile) {
		t.Error("the socket is left behind")
	}
	lock, err := Lock(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	again, err := logs.OpenStdio(cfg.Dir)
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

// TestAHangupEndsNoInput checks that the workload's input stays open when a client
// hangs up: another may attach.
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
	ask(t, cfg, api.Request{Stop: &api.StopRequest{Grace: -1}})
}

// TestHostileGuests checks that a guest which breaks the protocol ends its VM, that the
// exit has a reason, and that the monitor keeps no data.
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

// TestAnOldGateway lets a gateway of an older version, which still runs after an
// upgrade, start a VM with a new monitor.
func TestAnOldGateway(t *testing.T) {
	cfg, ready, _ := startMonitor(t, nil, func(g *fakeGuest) { g.boot(); echo(g) })
	wantRunning(t, ready)
	c, err := peer.DialIn(t.Context(), cfg.RunDir, api.SocketFile)
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
