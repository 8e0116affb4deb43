package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/stream"
)

// fake is a gateway's API on its real socket. Its sandboxes come from the file
// sandboxes.json beside it, where @DURATION@ is a time from now. Its workloads are the
// words that workload knows. It writes requests into files, for scripts to look at.
type fake struct {
	dir   string
	state string

	mu        sync.Mutex
	sandboxes []*fakeSandbox
	shares    []api.Share
	volumes   []api.Volume
	secrets   map[string]api.Secret
}

type fakeSandbox struct {
	api.Sandbox
	started  chan struct{}
	attached int
	asked    int // times that it was asked for
	signals  chan int
}

// serve starts a fake and returns the environment in which the CLI finds it.
func serve(t testing.TB, dir string) (env []string) {
	t.Helper()
	short, err := os.MkdirTemp("/tmp", "osvm") // socket paths must be short
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(short) })
	state := filepath.Join(short, "state")
	check(t, os.MkdirAll(filepath.Join(short, "run/g1"), 0o700))
	check(t, os.Mkdir(state, 0o700))
	check(t, os.WriteFile(filepath.Join(state, api.IdentityFile), []byte(`{"id":"g1"}`), 0o600))
	l, err := net.Listen("unix", filepath.Join(short, "run/g1", api.SocketFile))
	check(t, err)
	f := &fake{dir: dir, state: state}
	f.load(t)
	server := &http.Server{Handler: f.handler()}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return []string{api.EnvStateDir + "=" + state, api.EnvRuntimeDir + "=" + filepath.Join(short, "run")}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fake) load(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, "sandboxes.json"))
	if os.IsNotExist(err) {
		return
	}
	check(t, err)
	parts := strings.Split(string(text), "@")
	for i := 1; i < len(parts); i += 2 {
		d, err := time.ParseDuration(parts[i])
		check(t, err)
		parts[i] = time.Now().Add(d).Format(time.RFC3339Nano)
	}
	var list []api.Sandbox
	check(t, json.Unmarshal([]byte(strings.Join(parts, "")), &list))
	for _, s := range list {
		f.add(s)
	}
}

func (f *fake) add(s api.Sandbox) *fakeSandbox {
	f.mu.Lock()
	defer f.mu.Unlock()
	added := &fakeSandbox{Sandbox: s, started: make(chan struct{}), signals: make(chan int, 16)}
	if s.State == "running" {
		close(added.started)
	}
	f.sandboxes = append(f.sandboxes, added)
	return added
}

func (f *fake) find(ref string) (*fakeSandbox, *api.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sandboxes {
		if s.Name == ref || s.ID == ref {
			return s, nil
		}
	}
	return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("no sandbox is called %q", ref)}
}

// read gives a file that a script has put beside the fake; "" if there is none.
func (f *fake) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(f.dir, name))
	return strings.TrimSpace(string(text))
}

func (f *fake) version() string { return cmp.Or(f.read("gateway-version"), version) }

func (f *fake) advice() []string {
	if line := f.read("advice"); line != "" {
		return []string{line}
	}
	return nil
}

// environment is what a gateway of today tells, if there is a file docker-host.
func (f *fake) environment() *api.Environment {
	host := f.read("docker-host")
	switch host {
	case "":
		return nil
	case "unset":
		return &api.Environment{}
	}
	return &api.Environment{Variables: []api.Fact{{Name: "DOCKER_HOST", Value: host}}}
}

func (f *fake) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		answer(w, api.Status{ID: "g1", Version: f.version(), Environment: f.environment(), Advice: f.advice(),
			PID: 4711, StartedAt: time.Now().Add(-3 * time.Hour), Supervisor: "parent", Unit: f.read("unit"),
			StateDir: f.state, RuntimeDir: "/r", Sandboxes: 2, Running: 1, Failing: 1})
	})
	mux.HandleFunc("GET /v1/doctor", f.doctor)
	mux.HandleFunc("POST /v1/sandboxes", f.create)
	mux.HandleFunc("GET /v1/sandboxes", f.list)
	mux.HandleFunc("GET /v1/events", f.events)
	mux.HandleFunc("POST /v1/token/verify", f.verify)
	f.shareRoutes(mux)
	f.volumeRoutes(mux)
	f.secretRoutes(mux)
	f.configRoutes(mux)
	f.issuerRoutes(mux)
	routes := map[string]func(http.ResponseWriter, *http.Request, *fakeSandbox){
		"GET /v1/sandboxes/{ref}":               f.get,
		"DELETE /v1/sandboxes/{ref}":            f.remove,
		"POST /v1/sandboxes/{ref}/start":        f.start,
		"POST /v1/sandboxes/{ref}/stop":         f.stop,
		"POST /v1/sandboxes/{ref}/signal":       f.signal,
		"POST /v1/sandboxes/{ref}/rename":       f.rename,
		"POST /v1/sandboxes/{ref}/update":       f.update,
		"GET /v1/sandboxes/{ref}/wait":          f.wait,
		"GET /v1/sandboxes/{ref}/logs":          f.logs,
		"POST /v1/sandboxes/{ref}/attach":       f.attach,
		"POST /v1/sandboxes/{ref}/exec":         f.exec,
		"GET /v1/sandboxes/{ref}/token":         func(w http.ResponseWriter, _ *http.Request, s *fakeSandbox) { answer(w, s.Token) },
		"POST /v1/sandboxes/{ref}/token/rotate": f.rotate,
	}
	f.copyRoutes(func(pattern string, h func(http.ResponseWriter, *http.Request, *fakeSandbox)) { routes[pattern] = h })
	for pattern, h := range routes {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(api.Header) != fmt.Sprint(api.Version) {
				refuse(w, &api.Error{Code: api.CodeVersion, Message: "no version"})
				return
			}
			s, err := f.find(r.PathValue("ref"))
			if err != nil {
				refuse(w, err)
				return
			}
			h(w, r, s)
		})
	}
	return mux
}

func answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func refuse(w http.ResponseWriter, err *api.Error) {
	w.WriteHeader(http.StatusTeapot)
	answer(w, err)
}

func (f *fake) note(file string, v any) {
	text, _ := json.MarshalIndent(v, "", "  ")
	_ = os.WriteFile(filepath.Join(f.dir, file), append(text, '\n'), 0o600)
}

func (f *fake) doctor(w http.ResponseWriter, _ *http.Request) {
	d := api.Doctor{Chosen: "vm", Why: "KVM does not work, QEMU can emulate", Drivers: []api.DriverReport{
		{Name: "vm", Usable: true, Version: "qemu 7.2", Details: []api.Fact{{Name: "kvm", Value: "no"}}},
		{Name: "docker", Problem: "no socket", Hint: "start dockerd"},
	}, Host: []api.Fact{{Name: "state", Value: "ext4"}}}
	if _, err := os.Stat(filepath.Join(f.dir, "no-driver")); err == nil {
		d.Chosen = ""
	}
	answer(w, d)
}

func (f *fake) list(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []api.Sandbox
	for _, s := range f.sandboxes {
		list = append(list, s.Sandbox)
	}
	answer(w, list)
}

func (f *fake) create(w http.ResponseWriter, r *http.Request) {
	var c api.CreateRequest
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		refuse(w, &api.Error{Code: api.CodeInvalid, Message: err.Error()})
		return
	}
	f.note("created.json", c)
	if c.Name == "taken" {
		refuse(w, &api.Error{Code: api.CodeConflict, Message: "a sandbox called taken exists", Hint: "choose another --name"})
		return
	}
	s := api.Sandbox{ID: "c0ffee00c0ff", Name: "made-up", Driver: "vm", State: "created", Process: c.Process, Labels: c.Labels, CreatedAt: time.Now()}
	if _, free := f.find(s.ID); free == nil {
		s.ID = "c0ffee00c0f" + fmt.Sprint(len(f.sandboxes))
	}
	if c.Name != "" {
		s.Name = c.Name
	}
	if c.TTL == 16*time.Second {
		s.Warnings = []string{"half of the token lifetime is short"}
	}
	added := f.add(s).Sandbox
	if c.Name == "late" {
		time.Sleep(2 * say.ProgressAfter) // meanwhile it is interrupted
	}
	answer(w, added)
}

func (f *fake) get(w http.ResponseWriter, _ *http.Request, s *fakeSandbox) {
	f.mu.Lock()
	s.asked++
	view, times := s.Sandbox, s.asked
	f.mu.Unlock()
	if times == 1 && slices.Equal(s.Process.Args, []string{"lost-twice"}) {
		refuse(w, &api.Error{Code: api.CodeEnding, Message: "this gateway ends, too"})
		return
	}
	answer(w, view)
}

func (f *fake) start(w http.ResponseWriter, r *http.Request, s *fakeSandbox) {
	switch strings.Join(s.Process.Args, " ") {
	case "fail":
		refuse(w, &api.Error{Code: api.CodeDriver, Message: "start the VM: no KVM\nand no QEMU"})
		return
	case "no-command":
		refuse(w, &api.Error{Code: api.CodeNoCommand, Message: "no-command: not found", Hint: "check its name"})
		return
	case "not-executable":
		refuse(w, &api.Error{Code: api.CodeNotExecutable, Message: "not-executable: permission denied", Hint: "chmod"})
		return
	case "fails-with-files":
		refuse(w, &api.Error{Code: api.CodeDriver, Message: "start the VM: no root", Hint: "see /s/sandboxes/" + s.ID + "/console.log"})
		return
	case "unrunnable": // as an engine finds out
		code := 126
		f.mu.Lock()
		s.State, s.ExitCode, s.Reason = "exited", &code, "exec: unrunnable: permission denied"
		f.mu.Unlock()
		answer(w, s.Sandbox)
		return
	case "prompt": // runs before its start is answered
		f.mu.Lock()
		s.State = "running"
		f.mu.Unlock()
		close(s.started)
		time.Sleep(200 * time.Millisecond)
		answer(w, s.Sandbox)
		return
	case "boots-for-ever", "stays-for-ever", "prepares-for-ever":
		if s.Process.Args[0] == "prepares-for-ever" {
			f.mu.Lock()
			s.Progress = "preparing its root, 8000 of 100000 files"
			f.mu.Unlock()
		}
		f.note("booting", "")
		<-r.Context().Done()
		return
	}
	f.mu.Lock()
	s.State = "running"
	f.mu.Unlock()
	close(s.started)
	answer(w, s.Sandbox)
}

func (f *fake) stop(w http.ResponseWriter, r *http.Request, s *fakeSandbox) {
	var stop api.StopRequest
	_ = json.NewDecoder(r.Body).Decode(&stop)
	f.note("stopped.json", stop)
	f.mu.Lock()
	if s.State == "running" {
		s.State, s.started = "exited", make(chan struct{})
	}
	f.mu.Unlock()
	answer(w, s.Sandbox)
}

func (f *fake) remove(w http.ResponseWriter, r *http.Request, s *fakeSandbox) {
	if strings.Join(s.Process.Args, " ") == "stays-for-ever" {
		<-r.Context().Done()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.State == "running" && r.URL.Query().Get("force") != "1" {
		refuse(w, &api.Error{Code: api.CodeConflict, Message: s.Name + " runs", Hint: "stop it, or use rm -f"})
		return
	}
	for i, other := range f.sandboxes {
		if other == s {
			f.sandboxes = append(f.sandboxes[:i], f.sandboxes[i+1:]...)
			break
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (f *fake) signal(w http.ResponseWriter, r *http.Request, s *fakeSandbox) {
	var sig api.SignalRequest
	_ = json.NewDecoder(r.Body).Decode(&sig)
	s.signals <- sig.Signal
	w.WriteHeader(http.StatusNoContent)
}

// wait is ended once if there is a file wait-ended: as by a gateway that is killed if the
// file says so, and else as by one that is restarted.
func (f *fake) wait(w http.ResponseWriter, _ *http.Request, _ *fakeSandbox) {
	how := f.read("wait-ended")
	_ = os.Remove(filepath.Join(f.dir, "wait-ended"))
	switch how {
	case "":
		answer(w, api.WaitResult{ExitCode: 7})
	case "killed":
		panic(http.ErrAbortHandler)
	default:
		refuse(w, &api.Error{Code: api.CodeEnding, Message: "the gateway was ended meanwhile"})
	}
}

func (f *fake) rotate(w http.ResponseWriter, _ *http.Request, s *fakeSandbox) {
	s.Token.Generation++
	answer(w, s.Token)
}

func (f *fake) verify(w http.ResponseWriter, r *http.Request) {
	var v api.VerifyRequest
	_ = json.NewDecoder(r.Body).Decode(&v)
	f.note("verified.json", v)
	if v.Token != "good" {
		answer(w, api.VerifyResult{Problem: "the token has expired, 3m0s ago"})
		return
	}
	answer(w, api.VerifyResult{Valid: true, SandboxID: "c0ffee", Generation: 3, ExpiresAt: time.Now().Add(time.Hour)})
}

// logs gives one line of each stream. If there is a file logs-ended, a stream that is
// followed is ended once, after two more lines, as by a gateway that is restarted. The next
// stream has those lines, or what stands in logs-anew, and one more.
func (f *fake) logs(w http.ResponseWriter, r *http.Request, _ *fakeSandbox) {
	frames := stream.NewWriter(w)
	if state := f.read("logs-ended"); state != "" {
		follow := r.URL.Query().Get("follow") == "1"
		begin := "one\nfol"
		if anew := f.read("logs-anew"); anew != "" && state == "resumed" {
			begin = anew + "\n"
		}
		_ = frames.Write(stream.Stdout, 0, []byte(begin))
		_ = frames.Write(stream.Stderr, 0, []byte("two\n"))
		if state != "resumed" && follow {
			_ = os.WriteFile(filepath.Join(f.dir, "logs-ended"), []byte("resumed"), 0o600)
			_ = frames.Write(stream.Error, 0, api.EncodeError(&api.Error{Code: api.CodeEnding, Message: "the gateway ended the stream"}))
			return
		}
		if follow {
			_ = frames.Write(stream.Stdout, 0, []byte("lowed\nlast\n"))
		}
		_ = frames.Write(stream.Exit, 0, stream.EncodeExit(0))
		return
	}
	_ = frames.Write(stream.Stdout, 0, []byte("one\n"))
	_ = frames.Write(stream.Stderr, 0, []byte("two\n"))
	if r.URL.Query().Get("follow") == "1" {
		_ = frames.Write(stream.Stdout, 0, []byte("followed\n"))
	}
	_ = frames.Write(stream.Exit, 0, stream.EncodeExit(0))
}

// hijack switches to frames.
func hijack(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", api.UpgradeProtocol)
	return conn, rw
}

func (f *fake) attach(w http.ResponseWriter, _ *http.Request, s *fakeSandbox) {
	conn, rw := hijack(w)
	defer conn.Close()
	if s.Process.Args[0] == "unrunnable" {
		_ = stream.NewWriter(conn).Write(stream.Exit, 0, stream.EncodeExit(126))
		return
	}
	<-s.started
	f.mu.Lock()
	s.attached++
	times := s.attached
	f.mu.Unlock()
	workload(conn, rw, s.Process, s.signals, times)
}

func (f *fake) exec(w http.ResponseWriter, r *http.Request, s *fakeSandbox) {
	var e api.ExecRequest
	_ = json.NewDecoder(r.Body).Decode(&e)
	f.note("exec.json", e)
	if s.State != "running" {
		refuse(w, &api.Error{Code: api.CodeConflict, Message: s.Name + " does not run", Hint: "start it"})
		return
	}
	conn, rw := hijack(w)
	defer conn.Close()
	workload(conn, rw, e.Process, nil, 1)
}

// workload plays a process: its first argument says which.
func workload(conn net.Conn, rw *bufio.ReadWriter, p api.Process, signals chan int, times int) {
	out := stream.NewWriter(conn)
	in := stream.NewReader(rw)
	end := func(code int) { _ = out.Write(stream.Exit, 0, stream.EncodeExit(code)) }
	switch p.Args[0] {
	case "echo":
		fmt.Fprintln(out.To(stream.Stdout, 0), strings.Join(p.Args[1:], " "))
		end(0)
	case "true":
		end(0)
	case "exit":
		fmt.Fprintln(out.To(stream.Stderr, 0), "ending")
		code, _ := strconv.Atoi(p.Args[1])
		end(code)
	case "cat": // also says what else it gets
		cat(in, out)
		end(0)
	case "prompt":
		fmt.Fprint(out.To(stream.Stdout, 0), "prompt> ")
		cat(in, out)
	case "trap":
		fmt.Fprintln(out.To(stream.Stdout, 0), "ready")
		end(128 + <-signals)
	case "ended-once": // as a gateway that is restarted does
		if times > 1 {
			end(5)
			return
		}
		_ = out.Write(stream.Error, 0, api.EncodeError(&api.Error{Code: api.CodeEnding, Message: "the gateway ended the stream"}))
	case "broken":
		_ = out.Write(stream.Error, 0, api.EncodeError(&api.Error{Code: api.CodeDriver, Message: "the engine has gone", Hint: "start it"}))
	case "ended":
		_ = out.Write(stream.Error, 0, api.EncodeError(&api.Error{Code: api.CodeEnding, Message: "the gateway ended the stream"}))
	case "lost-once", "lost-twice":
		fmt.Fprintf(out.To(stream.Stdout, 0), "attached %d times\n", times)
		if times > 1 {
			end(5)
		}
	}
}

func cat(in *stream.Reader, out *stream.Writer) {
	for {
		frame, err := in.Read()
		if err == io.EOF || err != nil {
			return
		}
		switch frame.Kind {
		case stream.Stdin:
			_ = out.Write(stream.Stdout, 0, frame.Payload)
		case stream.Resize:
			rows, cols, _ := stream.DecodeSize(frame.Payload)
			fmt.Fprintf(out.To(stream.Stdout, 0), "size %d %d\r\n", rows, cols)
		case stream.Signal:
			fmt.Fprintf(out.To(stream.Stdout, 0), "signal %d\r\n", frame.Payload[0])
		case stream.StdinClose:
			return
		}
	}
}
