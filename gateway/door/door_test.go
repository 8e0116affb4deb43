package door

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"openshell-vm/gateway/oauth"
	"openshell-vm/internal/peer"
)

// whose answers with the path of a request; asked counts.
type whose struct{ asked atomic.Int64 }

func (h *whose) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.asked.Add(1)
	_, _ = io.Copy(io.Discard, r.Body)
	fmt.Fprint(w, r.URL.Path)
}

func client(dir string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return peer.DialIn(ctx, dir, Socket)
	}}, Timeout: 30 * time.Second}
}

func ask(t *testing.T, c *http.Client) string {
	t.Helper()
	response, err := c.Get("http://gateway/me")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func newDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40), "box") // a socket's path has 107 bytes
	if err := os.MkdirAll(filepath.Dir(filepath.Dir(dir)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := newDoors(t, nil).Make(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newDoors(t *testing.T, h http.Handler) *Doors {
	d := New(h, "", slog.New(slog.DiscardHandler))
	t.Cleanup(d.CloseAll)
	return d
}

// TestStaysMounted: the next gateway listens in the same directory, in place of the old socket.
func TestStaysMounted(t *testing.T) {
	dir := newDir(t)
	before, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	first := newDoors(t, &whose{})
	if err := first.Open("box", dir); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, client(dir)); got != "/me" {
		t.Errorf("%q", got)
	}
	first.CloseAll()
	if _, err := peer.DialIn(t.Context(), dir, Socket); err == nil {
		t.Error("a closed door lets in")
	}
	second := newDoors(t, &whose{})
	for range 2 { // opening an open one changes nothing
		if err := second.Open("box", dir); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, client(dir))
	if after, err := os.Stat(dir); err != nil || !os.SameFile(before, after) {
		t.Error("the directory is another one", err)
	}
	if err := os.Remove(filepath.Join(dir, Socket)); err != nil {
		t.Fatal(err)
	}
	if err := second.Open("box", dir); err != nil {
		t.Fatal(err)
	}
	ask(t, client(dir)) // one that was deleted is made again
	if err := second.Remove("box", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// TestModes: all users inside may connect, and nobody may write into the directory but the
// gateway's.
func TestModes(t *testing.T) {
	dir := newDir(t)
	if err := newDoors(t, &whose{}).Open("box", dir); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{filepath.Dir(dir): 0o700, dir: 0o755, filepath.Join(dir, Socket): 0o666} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// TestOneFloods: while one sandbox holds a thousand connections open, sends without end and asks
// as fast as it can, another one is answered, and the flood costs the gateway no more than its
// share.
func TestOneFloods(t *testing.T) {
	h := &whose{}
	doors := newDoors(t, h)
	bad, good := newDir(t), newDir(t)
	for name, dir := range map[string]string{"bad": bad, "good": good} {
		if err := doors.Open(name, dir); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	begun := time.Now()
	for i := range 1000 {
		flood.Go(func() {
			for ctx.Err() == nil {
				conn, err := peer.DialIn(ctx, bad, Socket)
				if err != nil { // the queue of who waits to connect is full
					continue
				}
				misuse(ctx, conn, i)
				conn.Close()
			}
		})
	}
	for range 20 {
		if got := ask(t, client(good)); got != "/me" {
			t.Errorf("%q", got)
		}
	}
	time.Sleep(time.Second)
	cancel()
	flood.Wait()
	if asked, most := h.asked.Load(), int64(20+burst+perSecond*(time.Since(begun).Seconds()+1)); asked > most {
		t.Errorf("%d requests were answered, at most %d may be", asked, most)
	}
}

// misuse does one of three bad things with a connection, until ctx ends.
func misuse(ctx context.Context, conn net.Conn, how int) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	switch how % 3 {
	case 0: // nothing
		_, _ = io.Copy(io.Discard, conn)
	case 1: // a header without end
		for {
			if _, err := fmt.Fprintf(conn, "X: %s\r\n", strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	default: // as many requests as go
		answers := bufio.NewReader(conn)
		for {
			if _, err := fmt.Fprint(conn, "GET /me HTTP/1.1\r\nHost: g\r\n\r\n"); err != nil {
				return
			}
			response, err := http.ReadResponse(answers, nil)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
		}
	}
}

// TestSlowBody: who stops in the middle of a body is cut off.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	read := make(chan error, 1)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	})
	if err := newDoors(t, h).Open("box", dir); err != nil {
		t.Fatal(err)
	}
	conn, err := peer.DialIn(t.Context(), dir, Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /me HTTP/1.1\r\nHost: g\r\nContent-Length: 10\r\n\r\nslow")
	if err := <-read; err == nil {
		t.Error("the body is taken for whole")
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection goes on: %v", err)
	}
}

// TestCaller: the socket says which sandbox asks.
func TestCaller(t *testing.T) {
	seen := make(chan any, 1)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- oauth.CallerOf(r.Context()) })
	doors := newDoors(t, h)
	dir := newDir(t)
	if err := doors.Open("box", dir); err != nil {
		t.Fatal(err)
	}
	ask(t, client(dir))
	if got := <-seen; got != (oauth.Caller{Sandbox: "box", Way: "socket"}) {
		t.Errorf("%+v", got)
	}
}

// TestProgram: all doors beside each other have the one copy of the program.
func TestProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "ask")
	if err := os.WriteFile(program, []byte("#!/bin/true"), 0o700); err != nil {
		t.Fatal(err)
	}
	doors := New(nil, program, slog.New(slog.DiscardHandler))
	place := filepath.Join(t.TempDir(), "doors")
	var infos [2]os.FileInfo
	for i, name := range []string{"a", "b"} {
		for range 2 {
			if err := doors.Make(filepath.Join(place, name)); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.Stat(filepath.Join(place, name, Program))
		if err != nil || info.Mode().Perm() != 0o555 {
			t.Fatal(info, err)
		}
		infos[i] = info
	}
	if !os.SameFile(infos[0], infos[1]) {
		t.Error("each sandbox has a copy of its own")
	}
}

// TestEverythingCounts: what the server would answer by itself is limited, too, on one connection
// and on many.
func TestEverythingCounts(t *testing.T) {
	for name, text := range map[string]string{"OPTIONS": "OPTIONS * HTTP/1.1\r\nHost: g\r\n\r\n", "no request": "\r\nnothing\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			if err := newDoors(t, &whose{}).Open("box", dir); err != nil {
				t.Fatal(err)
			}
			const more = perSecond / 2
			begun := time.Now()
			for answered := 0; answered < burst+more; {
				answered += answers(t, dir, text, burst+more-answered)
			}
			if took := time.Since(begun); took < more*time.Second/perSecond*8/10 {
				t.Errorf("%d were answered in %v", burst+more, took)
			}
		})
	}
}

// answers sends the same text up to n times on one connection and counts the answers.
func answers(t *testing.T, dir, text string, n int) (got int) {
	t.Helper()
	conn, err := peer.DialIn(t.Context(), dir, Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for got < n {
		if _, err := io.WriteString(conn, text); err != nil {
			return got
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return got
		}
		got++
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.Close {
			return got
		}
	}
	return got
}

// TestSweep: the program of an earlier version goes when a newer one comes, and the sandboxes that
// were made with it keep it.
func TestSweep(t *testing.T) {
	place := filepath.Join(t.TempDir(), "doors")
	for i, name := range []string{"old", "new"} {
		program := filepath.Join(t.TempDir(), "ask")
		if err := os.WriteFile(program, []byte(strings.Repeat("x", 10+i)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := New(nil, program, slog.New(slog.DiscardHandler)).Make(filepath.Join(place, name)); err != nil {
			t.Fatal(err)
		}
	}
	if shared, _ := filepath.Glob(filepath.Join(place, ".*")); len(shared) != 1 {
		t.Errorf("there are %q", shared)
	}
	for i, name := range []string{"old", "new"} {
		if info, err := os.Stat(filepath.Join(place, name, Program)); err != nil || info.Size() != int64(10+i) {
			t.Errorf("%s has %v, %v", name, info, err)
		}
	}
}
