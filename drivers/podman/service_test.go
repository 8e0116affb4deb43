package podman

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"openshell-vm/drivers"
)

// socketPath is short enough for a socket.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pod")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "podman.sock")
}

// service answers as Podman's does.
func service(t *testing.T, answer http.HandlerFunc) *engine {
	t.Helper()
	path := socketPath(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "4.3.1")
		w.Header().Set("Content-Type", "application/json")
		if !strings.HasSuffix(r.URL.Path, "/_ping") {
			answer(w, r)
		}
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return &engine{host: "unix://" + path}
}

// A service may take connections and say nothing. No call waits for it longer than its
// own deadline, however many there are.
func TestSilentService(t *testing.T) {
	path := socketPath(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	e := &engine{host: "unix://" + path}
	var all sync.WaitGroup
	for name, call := range map[string]func(ctx context.Context) error{
		"list":    func(ctx context.Context) error { _, err := e.List(ctx, "l", "v"); return err },
		"inspect": func(ctx context.Context) error { _, err := e.Inspect(ctx, "x"); return err },
		"attach":  func(ctx context.Context) error { _, err := e.ExecAttach(ctx, "x", drivers.Process{}); return err },
		"explain": func(ctx context.Context) error {
			return errors.Join(e.Explain("op", context.DeadlineExceeded), ctx.Err())
		},
		"kill": func(ctx context.Context) error { return e.Kill(ctx, "x", 9) },
	} {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			begin := time.Now()
			if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("%s: a deadline of 300 ms took %v", name, took)
			}
		})
	}
	all.Wait()
}

// The same once a service has answered: a stream that gets no answer ends with its caller.
func TestSilentAttach(t *testing.T) {
	release := make(chan struct{})
	e := service(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := e.ExecAttach(ctx, "x", drivers.Process{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// Podman refuses to remove a container that is about to end. A moment later it does
// remove it.
func TestRemoveOfWhatIsJustEnding(t *testing.T) {
	const improper = `{"cause":"container state improper","message":"cannot remove container 66 as it could not be stopped: ` +
		`given PID did not die within timeout: container state improper","response":500}`
	var asked atomic.Int32
	e := service(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(improper))
			return
		}
		_, _ = w.Write([]byte(`[]`))
	})
	if err := e.Remove(t.Context(), "x"); err != nil || asked.Load() != 3 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
	asked.Store(-1 << 20)
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	if err := e.Remove(ctx, "x"); err == nil {
		t.Error("what never could be removed was")
	}
}

// Podman can't always answer about a container that starts or ends just now. It is asked
// again, and not for ever.
func TestAskedAgain(t *testing.T) {
	const inTransition = `{"cause":"no such process","message":"read /proc/4054/cgroup: no such process","response":500}`
	for name, ask := range map[string]func(e *engine, ctx context.Context) error{
		"inspect": func(e *engine, ctx context.Context) error { _, err := e.Inspect(ctx, "x"); return err },
		"list":    func(e *engine, ctx context.Context) error { _, err := e.List(ctx, "l", "v"); return err },
		"mounts":  func(e *engine, ctx context.Context) error { _, err := e.Mounts(ctx); return err },
		"wait":    func(e *engine, ctx context.Context) error { _, err := e.Wait(ctx, "x", false); return err },
		"exec":    func(e *engine, ctx context.Context) error { _, err := e.ExecInspect(ctx, "x"); return err },
		"settle":  func(e *engine, ctx context.Context) error { return e.settle(ctx, "x") },
	} {
		t.Run(name, func(t *testing.T) {
			var asked, faults atomic.Int32
			e := service(t, func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) <= faults.Load() {
					w.WriteHeader(http.StatusInternalServerError)
					_, _ = w.Write([]byte(inTransition))
					return
				}
				switch {
				case strings.HasSuffix(r.URL.Path, "/containers/json"):
					_, _ = w.Write([]byte(`[]`))
				case strings.HasSuffix(r.URL.Path, "/wait"):
					_, _ = w.Write([]byte(`7`))
				default:
					_, _ = w.Write([]byte(`{"Id":"x","State":{"Status":"exited"}}`))
				}
			})
			faults.Store(1)
			if err := ask(e, t.Context()); err != nil || asked.Load() != 2 {
				t.Errorf("%v after %d requests", err, asked.Load())
			}
			asked.Store(0)
			faults.Store(1 << 20)
			err := ask(e, t.Context())
			if err == nil || err.Error() != "read /proc/4054/cgroup: no such process" || asked.Load() != askAgain+1 {
				t.Errorf("%v after %d requests", err, asked.Load())
			}
			asked.Store(0)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			if err := ask(e, ctx); err == nil || asked.Load() > askAgain {
				t.Errorf("%v after %d requests with little time", err, asked.Load())
			}
		})
	}
}

// What is refused for good is not asked again, and neither is what changes something.
func TestNotAskedAgain(t *testing.T) {
	var asked atomic.Int32
	code := http.StatusNotFound
	e := service(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(code)
		_, _ = w.Write([]byte(`{"cause":"c","message":"no such container","response":404}`))
	})
	if _, err := e.Inspect(t.Context(), "x"); !errors.Is(err, drivers.ErrNotFound) || asked.Load() != 1 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
	code = http.StatusInternalServerError
	if err := e.Kill(t.Context(), "x", 9); err == nil || asked.Load() != 2 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
}

// A container may end between the look at it and the attaching. The client is attached
// to it and waits for the next start.
func TestAttachToWhatIsJustEnding(t *testing.T) {
	var attached, looked atomic.Int32
	e := service(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/json") {
			state := []string{"running", "stopped", "exited"}[min(looked.Add(1)-1, 2)]
			_, _ = w.Write([]byte(`{"State":{"Status":"` + state + `"}}`))
			return
		}
		if attached.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"cause":"container state improper","message":"can only attach to created or running containers - ` +
				`currently in state stopped: container state improper","response":500}`))
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write([]byte("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"))
		conn.Close()
	})
	c, err := e.Attach(t.Context(), "x", false, true)
	if err != nil || attached.Load() != 2 || looked.Load() != 3 {
		t.Fatalf("%v after %d requests, %d looks", err, attached.Load(), looked.Load())
	}
	c.Close()
}

// A container that Podman can't describe hides no other's mounts.
func TestMountsBesideTheBroken(t *testing.T) {
	e := service(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/containers/json"):
			_, _ = w.Write([]byte(`[{"Id":"broken","Mounts":["/a"]},{"Id":"well","Mounts":["/a"]}]`))
		case strings.Contains(r.URL.Path, "/broken/"):
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"cause":"c","message":"layer not known","response":500}`))
		default:
			_, _ = w.Write([]byte(`{"Id":"well","Name":"well","Mounts":[{"Type":"bind","Source":"/s","Destination":"/a"}]}`))
		}
	})
	found, err := e.Mounts(t.Context())
	if err != nil || len(found) != 1 || found[0] != (drivers.Mounting{Object: "well", Source: "/s", Target: "/a"}) {
		t.Errorf("%+v, %v", found, err)
	}
}
