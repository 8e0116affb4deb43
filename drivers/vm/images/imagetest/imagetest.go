// Package imagetest makes container images for tests, and serves them from a registry on
// loopback.
package imagetest

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Layer is the archive of a layer that is being made.
type Layer struct {
	tb  testing.TB
	buf bytes.Buffer
	w   *tar.Writer
}

// NewLayer begins a layer.
func NewLayer(tb testing.TB) *Layer {
	l := &Layer{tb: tb}
	l.w = tar.NewWriter(&l.buf)
	return l
}

// Add adds an entry as it is, but for its size and a mode if it has none. data is that of a
// regular file.
func (l *Layer) Add(h tar.Header, data string) *Layer {
	l.tb.Helper()
	if h.Typeflag == 0 {
		h.Typeflag = tar.TypeReg
	}
	if h.Typeflag == tar.TypeReg {
		h.Size = int64(len(data))
	}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	if err := l.w.WriteHeader(&h); err != nil {
		l.tb.Fatalf("%q: %v", h.Name, err)
	}
	if _, err := io.WriteString(l.w, data); err != nil {
		l.tb.Fatalf("%q: %v", h.Name, err)
	}
	return l
}

// File adds a file of root.
func (l *Layer) File(name, data string) *Layer { return l.Add(tar.Header{Name: name}, data) }

// Program adds a file that can be executed.
func (l *Layer) Program(name string, data []byte) *Layer {
	return l.Add(tar.Header{Name: name, Mode: 0o755}, string(data))
}

// Dir adds a directory of root.
func (l *Layer) Dir(name string) *Layer {
	return l.Add(tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, "")
}

// Symlink adds a symbolic link.
func (l *Layer) Symlink(name, to string) *Layer {
	return l.Add(tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}, "")
}

// Link adds a hard link.
func (l *Layer) Link(name, to string) *Layer {
	return l.Add(tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}, "")
}

// Name is for errors; with Open a Layer is a block.Layer.
func (l *Layer) Name() string { return "sha256:test" }

// Open reads the archive.
func (l *Layer) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(l.Bytes())), nil }

// Bytes returns the archive. After that nothing can be added.
func (l *Layer) Bytes() []byte {
	if err := l.w.Close(); err != nil {
		l.tb.Fatal(err)
	}
	return l.buf.Bytes()
}

// Image makes an image for this host.
func Image(tb testing.TB, c v1.Config, layers ...*Layer) v1.Image {
	tb.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: c})
	if err != nil {
		tb.Fatal(err)
	}
	for _, l := range layers {
		data := l.Bytes()
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err == nil {
			image, err = mutate.AppendLayers(image, layer)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return image
}

// Registry is a registry on loopback. Its images are in memory.
type Registry struct {
	Host    string // HOST:PORT
	tb      testing.TB
	handler http.Handler
}

// Serve starts a registry, until the end of the test. wrap may be nil; it comes before the
// registry.
func Serve(tb testing.TB, wrap func(http.Handler) http.Handler) *Registry {
	tb.Helper()
	var handler http.Handler = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	return &Registry{Host: strings.TrimPrefix(server.URL, "http://"), tb: tb, handler: handler}
}

// On serves the registry at another place, too.
func (r *Registry) On(l net.Listener) {
	server := &http.Server{Handler: r.handler}
	go func() { _ = server.Serve(l) }()
	r.tb.Cleanup(func() { server.Close() })
}

// Push puts an image into the registry, and returns its reference.
func (r *Registry) Push(image v1.Image, repository string) string {
	r.tb.Helper()
	ref, err := name.ParseReference(r.Host + "/" + repository)
	if err == nil {
		err = remote.Write(ref, image)
	}
	if err != nil {
		r.tb.Fatal(err)
	}
	return ref.Name()
}
