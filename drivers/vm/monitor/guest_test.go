package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/programs"
	"openshell-vm/internal/stream"
)

// patience bounds one wait for something to happen. It is generous: nothing here
// promises speed, and other tests keep the machine busy.
const patience = 2 * time.Minute

// fakeGuest is the other end of the ports: a guest init in the test's process.
type fakeGuest struct {
	t       *testing.T
	monitor *monitor
	stdio   net.Conn
	console net.Conn
	control net.Conn

	out, ctl *stream.Writer
	frames   *stream.Reader // of control
	messages stream.Assembler
}

// startMonitor runs a monitor whose hypervisor is the given guest. It returns
// the configuration and what Run will return; ready gets the report.
func startMonitor(t *testing.T, change func(*Config), life func(*fakeGuest)) (cfg Config, ready <-chan api.Ready, end <-chan error) {
	t.Helper()
	cfg = Config{
		ID: "abc", Dir: t.TempDir(), Hypervisor: "fake", Machine: hypervisor.Machine{RunDir: t.TempDir()},
		BootDeadline: patience, StopGrace: 2 * time.Second, Attempt: 1,
	}
	cfg.Auth = t.TempDir()
	if err := os.Symlink("..gen-00000042", filepath.Join(cfg.Auth, "..data")); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	lives := make(chan *fakeGuest, 1)
	fake := &fakeTools{}
	read := func(string, []byte) (hypervisor.Tools, error) { return fake, nil }
	m := newMonitor(cfg, read, slog.New(slog.NewTextHandler(io.Discard, nil)))
	fake.begin = func(ports hypervisor.Ports) {
		lives <- &fakeGuest{t: t, monitor: m, stdio: conn(t, ports.Stdio), console: conn(t, ports.Console), control: conn(t, ports.Control)}
	}
	lock, err := Lock(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	report, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ended, reported := make(chan error, 1), make(chan api.Ready, 1)
	go func() { ended <- m.run(lock, theirs) }()
	go func() {
		defer report.Close()
		var r api.Ready
		if err := json.NewDecoder(report).Decode(&r); err != nil {
			t.Errorf("the report: %v", err)
		}
		reported <- r
	}()
	go func() {
		g := <-lives
		defer g.end()
		g.messages.Max = stream.MaxMessage
		g.out, g.ctl, g.frames = stream.NewWriter(g.stdio), stream.NewWriter(g.control), stream.NewReader(g.control)
		life(g)
	}()
	return cfg, reported, ended
}

// fakeTools make a VM that is no process.
type fakeTools struct {
	hypervisor.Tools
	begin func(hypervisor.Ports)
}

func (f *fakeTools) Processes(_ hypervisor.Machine, ports hypervisor.Ports) ([]hypervisor.Process, error) {
	defer ports.Close()
	f.begin(ports)
	return nil, nil
}

// died makes the death of the process with this name.
func died(name string, err error) programs.Death {
	return programs.Death{Name: name, Err: err, Server: strings.HasPrefix(name, "virtiofsd-")}
}

// conn returns the guest's end of a port. It stays open when the monitor closes its
// file.
func conn(t *testing.T, f *os.File) net.Conn {
	c, err := net.FileConn(f)
	if err != nil {
		t.Error(err)
	}
	return c
}

// end does what the end of a hypervisor's process does.
func (g *fakeGuest) end() {
	g.stdio.Close()
	g.console.Close()
	g.control.Close()
}

func (g *fakeGuest) send(m guest.Message) {
	if err := stream.WriteJSON(g.ctl, 0, m); err != nil {
		g.t.Logf("the guest's message: %v", err)
	}
}

// next reads the next frame on control, with its message if it has one.
func (g *fakeGuest) next() (f stream.Frame, m guest.Message, err error) {
	f, err = g.frames.Read()
	if err != nil || f.Kind != stream.Control {
		return f, m, err
	}
	data, whole, err := g.messages.Add(f)
	if whole {
		err = json.Unmarshal(data, &m)
	}
	return f, m, err
}

// boot sends Hello and starts the workload.
func (g *fakeGuest) boot() {
	g.send(guest.Message{Hello: &guest.Hello{Version: guest.Version, Kernel: "6.1-fake"}})
	if _, m, err := g.next(); err != nil || m.Start == nil {
		g.t.Errorf("no start but %+v, %v", m, err)
	}
	g.send(guest.Message{Started: &guest.Started{PID: 7}})
}

// exit ends the workload as the init does.
func (g *fakeGuest) exit(code int, reason string) {
	g.out.Write(stream.Exit, 0, stream.EncodeExit(code))
	g.send(guest.Message{Exited: &guest.Exited{Code: code, Reason: reason}})
}

// say sends output of the workload.
func (g *fakeGuest) say(kind stream.Kind, text string) {
	if err := g.out.Write(kind, 0, []byte(text)); err != nil {
		g.t.Errorf("output: %v", err)
	}
}

// until waits for a message that f accepts.
func (g *fakeGuest) until(f func(guest.Message) bool) bool {
	for {
		_, m, err := g.next()
		if err != nil {
			return false
		}
		if f(m) {
			return true
		}
	}
}

func wantRunning(t *testing.T, ready <-chan api.Ready) {
	t.Helper()
	if r := await(t, ready); r.Problem != "" {
		t.Fatalf("not started: %+v", r)
	}
}

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came in time")
		panic("unreachable")
	}
}

func wantExit(t *testing.T, cfg Config, want Exit) Exit {
	t.Helper()
	got, err := ReadExit(cfg.Dir)
	if err != nil || got.State != want.State || got.ExitCode != want.ExitCode || got.Reason != want.Reason {
		t.Errorf("exit %+v, %v; want %+v", got, err, want)
	}
	return got
}

func dialed(t *testing.T, cfg Config) *api.Client {
	t.Helper()
	c, err := api.Dial(cfg.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func ask(t *testing.T, cfg Config, r api.Request) (api.Report, error) {
	t.Helper()
	return dialed(t, cfg).Do(t.Context(), r)
}

// outcome is what a streaming request returned.
type outcome struct {
	code int
	err  error
}

func streamed(t *testing.T, cfg Config, r api.StreamRequest, s drivers.Streams) <-chan outcome {
	t.Helper()
	return streamedFor(t, t.Context(), cfg, r, s)
}

func streamedFor(t *testing.T, ctx context.Context, cfg Config, r api.StreamRequest, s drivers.Streams) <-chan outcome {
	t.Helper()
	c := dialed(t, cfg)
	result := make(chan outcome, 1)
	go func() {
		code, err := c.Stream(ctx, r, s)
		result <- outcome{code, err}
	}()
	return result
}

func missing(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return errors.Is(err, os.ErrNotExist)
}

func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come in time")
		}
	}
}
