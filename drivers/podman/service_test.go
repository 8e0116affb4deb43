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
		if !strings.HasSuffix(r.URL.Path, "/_ping") {
			answer(w, r)
		}
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return &engine{host: "unix://" + path}
}

// A service that takes connections and says nothing holds up no call beyond its
// own deadline, however many wait for it.
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

// The same once a service was there: a stream that is never answered ends with its caller.
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

// Podman refuses to remove what ends at this very moment; a moment later it
// does remove it.
func TestRemoveOfWhatIsJustEnding(t *testing.T) {
	const improper = `{"cause":"container state improper","message":"cannot remove container 66 as it could not be stopped: given PID did not die within timeout: container state improper","response":500}`
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
