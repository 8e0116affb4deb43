package images

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"openshell-vm/drivers/vm/images/imagetest"
	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/internal/vocab"
)

// TestDamagedBlob: a blob in the cache that was damaged there is fetched anew, whatever the
// first thing is that does not fit.
func TestDamagedBlob(t *testing.T) {
	registry := imagetest.Serve(t, nil)
	text := noise(200_000)
	ref := registry.Push(imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("f", text)), "x:1")
	for name, damage := range map[string]func(data []byte){
		"the magic":       func(data []byte) { data[0]++ },
		"in the middle":   func(data []byte) { clear(data[len(data)/2 : len(data)/2+1000]) },
		"the checksum":    func(data []byte) { data[len(data)-5]++ },
		"zeros":           func(data []byte) { clear(data) },
		"the gzip header": func(data []byte) { data[2] = 0xff },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			image, err := pull(t, dir, ref)
			if err != nil {
				t.Fatal(err)
			}
			blob := filepath.Join(dir, "blobs", strings.TrimPrefix(image.Blobs[0], "sha256:"))
			data, err := os.ReadFile(blob)
			if err != nil {
				t.Fatal(err)
			}
			damage(data)
			if err := os.WriteFile(blob, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Dir(image.Block)); err != nil {
				t.Fatal(err)
			}
			if image, err = pull(t, dir, ref); err != nil {
				t.Fatal(err)
			}
			if content(t, image, "f") != text {
				t.Error("it holds something else")
			}
		})
	}
}

// TestHostileLayerIsNotFetchedTwice: what is as the registry has it is not fetched again,
// and not kept.
func TestHostileLayerIsNotFetchedTwice(t *testing.T) {
	c := &cutter{ranges: true}
	registry := imagetest.Serve(t, c.wrap)
	ref := registry.Push(imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("../f", noise(100_000))), "x:1")
	dir := t.TempDir()
	if _, err := pull(t, dir, ref); err == nil || !strings.Contains(err.Error(), "leads out of it") {
		t.Errorf("%v", err)
	}
	if sent := c.sum(); sent > 150_000 {
		t.Errorf("%d bytes were sent", sent)
	}
	left(t, dir)
}

// TestOneLayerFails: what was fetched of an image stays, if another layer can't be had now.
func TestOneLayerFails(t *testing.T) {
	dir := t.TempDir()
	first := imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("f", noise(100_000)))
	layers, err := first.Layers()
	if err != nil {
		t.Fatal(err)
	}
	blob, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	refuse := ""
	registry := imagetest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refuse == "" || !strings.HasSuffix(r.URL.Path, refuse) {
				next.ServeHTTP(w, r)
				return
			}
			for { // until the other layer is here, and is read
				if _, err := os.Stat(filepath.Join(dir, "blobs", blob.Hex)); err == nil || r.Context().Err() != nil {
					break
				}
				time.Sleep(time.Millisecond)
			}
			w.WriteHeader(http.StatusForbidden)
		})
	})
	image := imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("f", noise(100_000)), imagetest.NewLayer(t).File("g", "second"))
	ref := registry.Push(image, "x:1")
	if layers, err = image.Layers(); err != nil {
		t.Fatal(err)
	}
	second, err := layers[1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	refuse = second.String()
	if _, err := pull(t, dir, ref); err == nil || !strings.Contains(err.Error(), refuse) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "blobs", blob.Hex)); err != nil {
		t.Error(err)
	}
}

// TestLooking: whoever waits for a slow registry is told so before it answers.
func TestLooking(t *testing.T) {
	told := make(chan string, 100)
	var slow atomic.Bool
	registry := imagetest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if slow.CompareAndSwap(true, false) {
				select {
				case said := <-told:
					if !strings.HasPrefix(said, "Looking for ") {
						t.Errorf("%q", said)
					}
				case <-time.After(10 * time.Second):
					t.Error("nothing is said within 10 s")
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	q := Request{Dir: t.TempDir(), Reference: registry.Push(small(t, "x"), "x:1")}
	slow.Store(true)
	report := func(p vocab.PullProgress) { told <- p.Status }
	if _, err := Pull(t.Context(), q, os.Getenv, report); err != nil {
		t.Fatal(err)
	}
	for len(told) > 0 {
		<-told
	}
	if _, err := Pull(t.Context(), q, os.Getenv, report); err != nil || len(told) > 0 {
		t.Errorf("of an image that is here it says %q; %v", <-told, err)
	}
}

// TestRemovedMeanwhile: the engine's image is here already when it is looked for, and gone
// when it is used. It is copied then.
func TestRemovedMeanwhile(t *testing.T) {
	id, host, copies := serveEngine(t)
	t.Setenv("DOCKER_HOST", host)
	dir, self := t.TempDir(), program(t)
	program := filepath.Join(dir, "openshell-image")
	q := Request{Dir: filepath.Join(dir, "store"), Reference: "docker-daemon:x:1", Fresh: true}
	if _, err := (Client{Program: self}).Pull(t.Context(), q, nil); err != nil {
		t.Fatal(err)
	}
	// The image goes when the program has answered that it is here.
	script := fmt.Sprintf("#!/bin/sh\nanswer=$(%s)\nmkdir %s/removed 2>/dev/null && rm -r %s/images\nprintf '%%s\\n' \"$answer\"\n", self, dir, q.Dir)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := Client{Program: program}.Pull(t.Context(), q, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != id || content(t, got, "etc/a") != "above" || copies.Load() != 2 {
		t.Errorf("after %d copies: %+v", copies.Load(), got)
	}
}

// TestEngineIsCopiedOnce: what an engine has is copied if it is not here, and only then.
func TestEngineIsCopiedOnce(t *testing.T) {
	id, host, copies := serveEngine(t)
	looked := int32(0)
	report := func(p vocab.PullProgress) {
		if p.Status == "Looking for docker-daemon:x:1" {
			looked++
		}
	}
	q := Request{Dir: t.TempDir(), Reference: "docker-daemon:x:1", Fresh: true}
	getenv := func(key string) string { return map[string]string{"DOCKER_HOST": host}[key] }
	for n, want := range []int32{1, 1, 2} {
		if n == 2 {
			if err := os.RemoveAll(filepath.Join(q.Dir, "images")); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Pull(t.Context(), q, getenv, report)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != id || content(t, got, "etc/a") != "above" || copies.Load() != want {
			t.Errorf("after %d copies: %+v", copies.Load(), got)
		}
		if looked != want { // an image that is here is not looked for
			t.Errorf("after %d copies it was looked for %d times", copies.Load(), looked)
		}
		if named, err := store.Open(q.Dir).Lookup("docker-daemon:docker.io/library/x:1"); err != nil || named.ID != got.ID {
			t.Errorf("%+v, %v", named, err)
		}
	}
}

// serveEngine serves an engine that has one image, docker-daemon:x:1. host is for DOCKER_HOST.
func serveEngine(t *testing.T) (id, host string, copies *atomic.Int32) {
	t.Helper()
	image := small(t, "above")
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("x:1")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "engine.sock")
	copies = &atomic.Int32{}
	serveUnix(t, socket, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/get") {
			w.Write([]byte(`{"Id":"` + config.String() + `"}`))
			return
		}
		copies.Add(1)
		if err := tarball.Write(tag, image, w); err != nil {
			t.Error(err)
		}
	}))
	return config.String(), "unix://" + socket, copies
}

func serveUnix(t *testing.T, socket string, handler http.Handler) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	var err error
	if server.Listener, err = net.Listen("unix", socket); err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(server.Close)
}
