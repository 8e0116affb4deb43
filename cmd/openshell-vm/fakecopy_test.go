package main

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/tree"
)

// The fake's sandboxes have their files in inside, a directory beside the fake. The archive
// in the file hostile, if there is one, is what comes out in place of any other.

func (f *fake) copyRoutes(add func(string, func(http.ResponseWriter, *http.Request, *fakeSandbox))) {
	add("GET /v1/sandboxes/{ref}/archive/stat", f.pathStat)
	add("GET /v1/sandboxes/{ref}/archive", f.copyOut)
	add("POST /v1/sandboxes/{ref}/archive", f.copyIn)
	add("POST /v1/sandboxes/{ref}/launch", f.launch)
	add("GET /v1/sandboxes/{ref}/usage", f.usage)
}

func (f *fake) inside(r *http.Request) string {
	p := r.URL.Query().Get("path")
	file := filepath.Join(f.dir, "inside", p)
	if strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/") {
		file += p[strings.LastIndex(p, "/"):]
	}
	return file
}

func (f *fake) pathStat(w http.ResponseWriter, r *http.Request, _ *fakeSandbox) {
	file := f.inside(r)
	info, err := os.Lstat(file)
	if err != nil {
		answer(w, api.FoundPath{})
		return
	}
	stat := api.PathStat{Name: info.Name(), Size: info.Size(), Mode: info.Mode(), ModTime: info.ModTime()}
	if link, err := os.Readlink(file); err == nil {
		stat.LinkTarget = link
	}
	answer(w, api.FoundPath{Stat: &stat})
}

func (f *fake) copyOut(w http.ResponseWriter, r *http.Request, _ *fakeSandbox) {
	out := stream.NewWriter(w)
	if hostile, err := os.ReadFile(filepath.Join(f.dir, "hostile")); err == nil {
		_, _ = out.To(stream.Stdout, 0).Write(hostile)
	} else if _, err := tree.Pack(out.To(stream.Stdout, 0), f.inside(r), tree.Base(r.URL.Query().Get("path")), tree.PackOptions{}); err != nil {
		_ = out.Write(stream.Error, 0, api.EncodeError(&api.Error{Code: api.CodeInternal, Message: err.Error(), Hint: "none"}))
		return
	}
	_ = out.Write(stream.Exit, 0, stream.EncodeExit(0))
}

func (f *fake) copyIn(w http.ResponseWriter, r *http.Request, _ *fakeSandbox) {
	dir := f.inside(r)
	conn, rw := hijack(w)
	there, client := stream.Single(bufferedConn{conn, rw}, stream.Options{Process: true})
	defer there.Close()
	if _, err := tree.Unpack(client.Stdin(), dir, tree.Options{}); err != nil {
		client.Fail(api.EncodeError(&api.Error{Code: api.CodeInternal, Message: err.Error(), Hint: "none"}))
	} else {
		client.Exit(0)
	}
	_ = there.Flush(r.Context())
}

// bufferedConn is a connection whose first bytes the HTTP server has read.
type bufferedConn struct {
	net.Conn
	rw *bufio.ReadWriter
}

func (b bufferedConn) Read(p []byte) (int, error) { return b.rw.Read(p) }

func (f *fake) launch(w http.ResponseWriter, r *http.Request, _ *fakeSandbox) {
	var e api.ExecRequest
	_ = json.NewDecoder(r.Body).Decode(&e)
	f.note("launched.json", e)
	if e.Process.Args[0] == "no-command" {
		answer(w, api.LaunchResult{ExitCode: 127, Reason: "no-command: not found"})
		return
	}
	answer(w, api.LaunchResult{})
}

// usage is of half a CPU. The sandbox hangs never answers.
func (f *fake) usage(w http.ResponseWriter, r *http.Request, s *fakeSandbox) {
	switch {
	case s.Name == "hangs":
		<-r.Context().Done()
		return
	case s.State != "running":
		refuse(w, &api.Error{Code: api.CodeConflict, Message: s.Name + " does not run"})
		return
	}
	amount := func(n int64) *int64 { return &n }
	now := time.Now()
	answer(w, api.Usage{At: now, CPU: time.Duration(now.UnixNano() / 2), Memory: 64 << 20, MemoryLimit: 256 << 20,
		Received: amount(1050), Sent: amount(2000), Read: amount(0), Written: amount(4096), Disk: amount(10_000_000)})
}
