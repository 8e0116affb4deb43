package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// raw does one request without the client's help.
func (w *world) raw(method, path, version string, body io.Reader) (*http.Response, string) {
	w.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(w.gateway.home.Runtime, api.SocketFile))
	}}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequest(method, "http://gateway"+path, body)
	w.must(err)
	if version != "" {
		request.Header.Set(api.Header, version)
	}
	response, err := client.Do(request)
	w.must(err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	w.must(err)
	return response, string(answer)
}

func TestAPIRefusals(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	big := strings.Repeat(" ", 1<<20) + "{}"
	for _, c := range []struct {
		method, path, version, body string
		status                      int
	}{
		{"GET", "/v1/status", "1", "", 200},
		{"GET", "/healthz", "", "", 200},
		{"GET", "/metrics", "", "", 200},
		{"GET", "/v1/status", "", "", 426},
		{"GET", "/v1/status", "0", "", 426},
		{"GET", "/v1/status", "2", "", 426},
		{"GET", "/v1/nothing", "1", "", 404},
		{"PUT", "/v1/status", "1", "", 404},
		{"GET", "/v1/sandboxes/nobody", "1", "", 404},
		{"POST", "/v1/sandboxes", "1", "{", 400},
		{"POST", "/v1/sandboxes", "1", big, 400},
		{"POST", "/v1/token/verify", "1", `{"leeway":-1}`, 400},
		{"POST", "/v1/token/verify", "1", `{"leeway":3600000000000}`, 400},
		{"POST", "/v1/sandboxes/nobody/attach", "1", "", 404},
	} {
		response, answer := w.raw(c.method, c.path, c.version, strings.NewReader(c.body))
		if response.StatusCode != c.status {
			t.Errorf("%s %s, version %q: %d %s, wanted %d", c.method, c.path, c.version, response.StatusCode, answer, c.status)
		}
		if c.status >= 400 && (!strings.Contains(answer, `"hint":"`) || !strings.Contains(answer, `"code":"`)) {
			t.Errorf("%s %s answers %s", c.method, c.path, answer)
		}
	}
}

// TestSocketsMode: the socket's mode keeps other users out, even before their credentials are
// checked.
func TestSocketsMode(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run() // run connects, so this process's own credentials were read
	info, err := os.Stat(filepath.Join(g.home.Runtime, api.SocketFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
}

// TestAttach is a foreground run: attach, start, input, resize, signal, exit code.
func TestAttach(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	s := w.create(api.CreateRequest{Name: "one", Stdin: true, AutoRemove: true})
	stdin, typed := io.Pipe()
	var stdout, stderr capture.Buffer
	sizes, signals := make(chan api.Size, 1), make(chan int, 1)
	connected := make(chan struct{})
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		code, err := w.client.Attach(t.Context(), "one", false,
			api.Streams{Stdin: stdin, Stdout: &stdout, Stderr: &stderr, Resize: sizes, Signals: signals}, func() { close(connected) })
		ended <- end{code, err}
	}()
	<-connected
	w.start("one")
	_, err := io.WriteString(typed, "hello")
	w.must(err)
	w.eventually("input comes back", func() bool { return strings.Contains(stdout.String(), "in:hello") })
	sizes <- api.Size{Rows: 40, Cols: 132}
	w.eventually("the size arrives", func() bool { return strings.Contains(stdout.String(), "size:40x132") })
	typed.Close()
	w.eventually("the end of input arrives", func() bool { return strings.Contains(stderr.String(), "end:EOF") })
	signals <- 15
	if e := <-ended; e.err != nil || e.code != 143 {
		t.Errorf("ended with %d, %v", e.code, e.err)
	}
	if n := engine.count("signal-15 " + s.ID); n != 1 {
		t.Errorf("%d signals arrived", n)
	}
	if engine.count("attach-replay-true "+s.ID) != 1 {
		t.Error("what the start gave before the attachment would be lost")
	}
	w.eventually("--rm removed it", func() bool { return w.gateway.byID(s.ID) == nil })
}

// TestDetach: when a client goes away, the sandbox goes on running. When a gateway ends, its
// clients are told.
func TestDetach(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	w.start("one")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := w.client.Attach(ctx, "one", true, api.Streams{}, cancel)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled attach: %v", err)
	}
	w.eventually("it is detached", func() bool { return g.census.Count(time.Now()).Needing == 1 && clients(g, s.ID) == 0 })
	if s := w.get("one"); s.State != "running" {
		t.Errorf("after the detach it is %s", s.State)
	}

	connected, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := w.client.Attach(t.Context(), "one", true, api.Streams{}, func() { close(connected) })
		ended <- err
	}()
	<-connected
	w.eventually("it is attached", func() bool { return clients(g, s.ID) == 1 })
	w.stop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "gateway") {
		t.Errorf("an attachment at the gateway's end: %v", err)
	}
	if status := engine.get(s.ID).status; status.State != "running" {
		t.Errorf("after the gateway's end it is %s", status.State)
	}
}

func clients(g *Gateway, id string) int {
	return sandboxOf(g.byID(id)).Snapshot().Clients
}

func TestExec(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	w.create(api.CreateRequest{Name: "one"})
	command := func(args ...string) api.ExecRequest { return api.ExecRequest{Process: api.Process{Args: args}} }
	_, err := w.client.Exec(t.Context(), "one", command("x"), api.Streams{})
	refused(t, err, api.CodeConflict, "not running")
	w.start("one")
	_, err = w.client.Exec(t.Context(), "one", command(), api.Streams{})
	refused(t, err, api.CodeInvalid, "command")

	code, err := w.client.Exec(t.Context(), "one", command("a", "b", "c"), api.Streams{})
	if err != nil || code != 3 {
		t.Errorf("exit code %d, %v", code, err)
	}
	var stdout capture.Buffer
	cat := command("cat")
	cat.Stdin = true
	input := strings.Repeat("0123456789abcdef", 20_000) // ten frames
	code, err = w.client.Exec(t.Context(), "one", cat, api.Streams{Stdin: strings.NewReader(input), Stdout: &stdout})
	if err != nil || code != 0 || stdout.String() != input {
		t.Errorf("cat: exit code %d, %v, %d bytes", code, err, len(stdout.String()))
	}
	signals := make(chan int, 1)
	signals <- 2
	if code, err = w.client.Exec(t.Context(), "one", command("wait"), api.Streams{Signals: signals}); err != nil || code != 130 {
		t.Errorf("interrupted: exit code %d, %v", code, err)
	}
	_, err = w.client.Exec(t.Context(), "one", command("broken"), api.Streams{})
	refused(t, err, api.CodeDriver, "control channel")

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err = w.client.Exec(ctx, "one", command("wait"), api.Streams{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a cancelled command: %v", err)
	}
	w.eventually("the command is killed", func() bool { return engine.count("killed ") == 1 })
}

func TestLogs(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	w.create(api.CreateRequest{Name: "one"})
	var stdout, stderr capture.Buffer
	err := w.client.Logs(t.Context(), "one", false, &stdout, &stderr)
	if err != nil || stdout.String() != "to stdout" || stderr.String() != "to stderr" {
		t.Errorf("%q, %q, %v", stdout.String(), stderr.String(), err)
	}
	engine.failing("logs", errors.New("the log is gone"))
	refused(t, w.client.Logs(t.Context(), "one", false, io.Discard, io.Discard), api.CodeInternal, "gone")
}

func TestMetricsAndDoctor(t *testing.T) {
	engine, broken := newFake("fake"), newFake("broken")
	broken.failing("probe", errors.New("not installed"))
	w := newWorld(t, broken, engine)
	w.run()
	w.create(api.CreateRequest{})
	w.start(w.create(api.CreateRequest{Name: "one"}).ID)
	var metrics bytes.Buffer
	w.must(w.client.Metrics(t.Context(), &metrics))
	for _, line := range []string{"openshell_sandboxes 2", "openshell_sandboxes_running 1", "openshell_sandboxes_failing 0", "openshell_publish_seconds_count 3"} {
		if !strings.Contains(metrics.String(), line+"\n") {
			t.Errorf("no line %q in\n%s", line, metrics.String())
		}
	}
	d, err := w.client.Doctor(t.Context())
	if err != nil || d.Chosen != "fake" || !strings.Contains(d.Why, "not installed") || len(d.Drivers) != 2 || d.Drivers[0].Hint != "mend it" {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestStopEndsTheGateway: when Stop returns, the gateway's socket is gone.
func TestStopEndsTheGateway(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	w.must(w.client.StopGateway(t.Context()))
	if _, err := api.Connect(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("after the stop: %v", err)
	}
	w.must(<-w.ended)
	w.ended = nil
}

// TestHostileViews: a client gets texts of an engine, an image or a guest only as one
// bounded, printable line.
func TestHostileViews(t *testing.T) {
	evil := "user a\u009b1;31mx\u202e\x1b]0;y\x07\nend\ufeff" + strings.Repeat("!", 1<<17)
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	id := w.create(api.CreateRequest{Name: "one"}).ID
	engine.mu.Lock()
	engine.boxes[id].status.Reason = evil
	engine.boxes[id].status.Details = []drivers.Fact{{Name: evil, Value: evil}}
	engine.mu.Unlock()
	view := w.get("one")
	if len(view.Details) != 1 {
		t.Fatalf("%d facts", len(view.Details))
	}
	for i, line := range []string{view.Reason, view.Details[0].Name, view.Details[0].Value} {
		if text.Line(line) != line || strings.HasPrefix(line, "user a\u009b") || len(line) > text.MaxLine || line == "" {
			t.Errorf("%d: %d bytes, %.60q", i, len(line), line)
		}
	}
}
