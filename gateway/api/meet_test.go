package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/internal/procfs"
)

// envServe lets the test program answer on this socket, as the gateway of the state
// directory envServeState.
const (
	envServe      = "API_TEST_SERVE"
	envServeState = "API_TEST_STATE"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(envServe); socket != "" {
		serve(socket)
	}
	os.Exit(m.Run())
}

func serve(socket string) {
	l, err := net.Listen("unix", socket)
	if err == nil {
		err = os.Chmod(socket, 0o666)
	}
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString("ready\n")
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(Status{ID: "g1", PID: os.Getpid(), StateDir: os.Getenv(envServeState)})
	})))
}

// world makes a state and a runtime directory. Nobody listens there yet.
func world(t *testing.T) (state, runtime string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "api") // short, for the socket
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	state, runtime = filepath.Join(dir, "state"), filepath.Join(dir, "run/g1")
	must(t, os.MkdirAll(runtime, 0o755))
	must(t, os.Chmod(runtime, 0o700))
	must(t, os.Mkdir(state, 0o700))
	must(t, os.WriteFile(filepath.Join(state, IdentityFile), []byte(`{"id":"g1"}`), 0o600))
	t.Setenv(EnvStateDir, state)
	t.Setenv(EnvRuntimeDir, filepath.Dir(runtime))
	return state, runtime
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listener starts another process that answers.
func listener(t *testing.T, runtime, state string, as *syscall.Credential) *os.Process {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	if as != nil { // it may not be allowed to reach the program's own place
		copied := filepath.Join(filepath.Dir(filepath.Dir(runtime)), "listener")
		in, err := os.Open(self)
		must(t, err)
		defer in.Close()
		out, err := os.OpenFile(copied, os.O_CREATE|os.O_WRONLY, 0o755)
		must(t, err)
		_, err = io.Copy(out, in)
		must(t, errors.Join(err, out.Close()))
		self = copied
	}
	cmd := exec.Command(self)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), envServe+"="+filepath.Join(runtime, SocketFile), envServeState+"="+state)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	return cmd.Process
}

// refusal checks that an error has this line and this hint.
func refusal(t *testing.T, err error, says, hint string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, says) || !strings.Contains(e.Hint, hint) {
		t.Errorf("%v (%#v), wanted …%s… and the hint …%s…", err, e, says, hint)
	}
}

func TestConnect(t *testing.T) {
	state, runtime := world(t)
	if _, err := Connect(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody: %v", err)
	}
	p := listener(t, runtime, state, nil)
	c, err := Connect(t.Context())
	must(t, err)
	defer c.Close()
	if c.Met().PID != p.Pid {
		t.Errorf("%+v", c.Met())
	}
}

// TestImpostor checks that a client refuses to connect if the runtime directory is
// another user's or others can write to it, or if another user's process listens there.
func TestImpostor(t *testing.T) {
	state, runtime := world(t)
	listener(t, runtime, state, nil)
	must(t, os.Chmod(runtime, 0o777))
	_, err := Connect(t.Context())
	refusal(t, err, "others can write", EnvRuntimeDir)
	_, err = EnsureStarted(t.Context(), "/bin/false")
	refusal(t, err, "others can write", EnvRuntimeDir)
	if os.Geteuid() != 0 {
		return // only root can be two users
	}
	const nobody = 65534
	state, runtime = world(t)
	must(t, os.Chown(runtime, nobody, nobody))
	listener(t, runtime, state, &syscall.Credential{Uid: nobody, Gid: nobody})
	_, err = Connect(t.Context())
	refusal(t, err, "belongs to user 65534", EnvRuntimeDir)
	must(t, os.Chown(runtime, 0, 0))
	_, err = Connect(t.Context())
	refusal(t, err, "of user 65534 listens", EnvRuntimeDir)
}

// TestOtherStateDirectory checks that a gateway of another state directory is refused. A
// copied state directory has the same id, so its gateway may have the same socket.
func TestOtherStateDirectory(t *testing.T) {
	state, runtime := world(t)
	listener(t, runtime, state, nil)
	copied := filepath.Join(filepath.Dir(state), "copied")
	must(t, os.CopyFS(copied, os.DirFS(state)))
	t.Setenv(EnvStateDir, copied)
	_, err := Connect(t.Context())
	refusal(t, err, state+", not of "+copied, EnvRuntimeDir)

	link := filepath.Join(filepath.Dir(state), "link")
	must(t, os.Symlink(state, link))
	t.Setenv(EnvStateDir, link)
	c, err := Connect(t.Context())
	must(t, err)
	c.Close()

	must(t, os.Rename(state, state+"-moved"))
	t.Setenv(EnvStateDir, state+"-moved")
	_, err = Connect(t.Context())
	refusal(t, err, "moved", "kill ")
}

// TestSilentGateway checks that the error names a stopped gateway and says what to do.
func TestSilentGateway(t *testing.T) {
	meet, short := meetDeadline, shortDeadline
	meetDeadline, shortDeadline = 300*time.Millisecond, 300*time.Millisecond
	defer func() { meetDeadline, shortDeadline = meet, short }()
	state, runtime := world(t)
	p := listener(t, runtime, state, nil)
	c, err := Reach(t.Context())
	must(t, err)
	defer c.Close()
	must(t, p.Signal(syscall.SIGSTOP))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if stat, err := procfs.ReadStat(p.Pid); err == nil && stat.State == "T" {
			break
		} else if time.Now().After(end) {
			t.Fatal("it does not stop")
		}
	}
	_, err = Connect(t.Context())
	refusal(t, err, "it is stopped", "kill -CONT ")
	_, err = EnsureStarted(t.Context(), "/bin/false")
	refusal(t, err, "it is stopped", "kill -CONT ")
	_, err = c.List(t.Context())
	refusal(t, err, "it is stopped", "kill -CONT ")
	refusal(t, c.StopGateway(t.Context()), "it is stopped", "kill -CONT ")
	refusal(t, c.Metrics(t.Context(), io.Discard), "it is stopped", "kill -CONT ")
	must(t, p.Signal(syscall.SIGCONT))
	_, err = c.Status(t.Context())
	must(t, err)
}
