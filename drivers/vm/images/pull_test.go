package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/erofs/go-erofs"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"openshell-vm/drivers/vm/images/imagetest"
	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/internal/vocab"
)

func noEnv(string) string { return "" }

// pull pulls into dir.
func pull(t *testing.T, dir, ref string) (store.Image, error) {
	t.Helper()
	return Pull(t.Context(), Request{Dir: dir, Reference: ref, Fresh: true}, noEnv, func(vocab.PullProgress) {})
}

// content reads a file out of a block image.
func content(t *testing.T, i store.Image, file string) string {
	t.Helper()
	f, err := os.Open(i.Block)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := erofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := fs.ReadFile(in, file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// small is an image of two layers.
func small(t *testing.T, text string) v1.Image {
	return imagetest.Image(t, v1.Config{Cmd: []string{"/bin/x"}},
		imagetest.NewLayer(t).Dir("etc").File("etc/a", "below").File("etc/b", "kept"),
		imagetest.NewLayer(t).File("etc/a", text))
}

// TestSources pulls one image from everywhere. It is the same image each time.
func TestSources(t *testing.T) {
	image := small(t, "above")
	dir := t.TempDir()
	registry := imagetest.Serve(t, nil)
	tagged := registry.Push(image, "x/y:1")
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	layoutDir := filepath.Join(dir, "layout")
	p, err := layout.Write(layoutDir, empty.Index)
	if err == nil {
		err = p.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "latest"}))
	}
	if err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(dir, "saved.tar")
	tag, err := name.NewTag("x/y:1")
	if err == nil {
		err = tarball.WriteToFile(saved, tag, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, ref := range []string{
		tagged, registry.Host + "/x/y@" + digest.String(), "oci:" + layoutDir, "oci:" + layoutDir + ":latest",
		"oci-archive:" + pack(t, layoutDir), "docker-archive:" + saved, "docker-archive:" + saved + ":x/y:1",
	} {
		got, err := pull(t, filepath.Join(t.TempDir(), "store"), ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if text := content(t, got, "etc/a") + content(t, got, "etc/b"); text != "abovekept" {
			t.Errorf("%s: it holds %q", ref, text)
		}
		ids = append(ids, got.ID)
	}
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("the images are %v", ids)
		}
	}
}

// pack makes an archive of a directory.
func pack(t *testing.T, dir string) string {
	t.Helper()
	l := imagetest.NewLayer(t)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		l.File(path, string(data))
		return err
	})
	file := filepath.Join(t.TempDir(), "archive.tar")
	if err == nil {
		err = os.WriteFile(file, l.Bytes(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// cutter is in front of a registry. It counts requests for blobs, and breaks off answers.
type cutter struct {
	mu     sync.Mutex
	cut    int  // answers that are still broken off, each after some bytes
	ranges bool // whether it knows ranges
	asked  []string
	sent   int64
}

// sum returns how many bytes were sent. The server may still be at its last ones.
func (c *cutter) sum() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

func (c *cutter) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			next.ServeHTTP(w, r)
			return
		}
		blob := &recorder{header: http.Header{}}
		whole := r.Clone(r.Context())
		whole.Header.Del("Range")
		next.ServeHTTP(blob, whole)
		c.serve(w, r, blob.body.Bytes())
	})
}

func (c *cutter) serve(w http.ResponseWriter, r *http.Request, data []byte) {
	c.mu.Lock()
	c.asked = append(c.asked, r.Header.Get("Range"))
	breakOff := c.cut > 0 && len(data) > 10_000
	if breakOff {
		c.cut--
	}
	c.mu.Unlock()
	if !c.ranges {
		r.Header.Del("Range")
	}
	counted := &counting{ResponseWriter: w, c: c}
	if breakOff {
		counted.left = 4000
		counted.limited = true
	}
	http.ServeContent(counted, r, "", time.Time{}, bytes.NewReader(data))
}

// counting counts what is sent, and may hang up.
type counting struct {
	http.ResponseWriter
	c       *cutter
	limited bool
	left    int
}

func (w *counting) Write(p []byte) (int, error) {
	if w.limited && len(p) > w.left {
		p = p[:w.left]
	}
	n, err := w.ResponseWriter.Write(p)
	w.c.mu.Lock()
	w.c.sent += int64(n)
	w.c.mu.Unlock()
	w.left -= n
	if w.limited && w.left == 0 {
		http.NewResponseController(w.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(int)             {}
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// noise is text that can't be compressed.
func noise(n int) string {
	var b strings.Builder
	for sum := sha256.Sum256(nil); b.Len() < n; sum = sha256.Sum256(sum[:]) {
		b.WriteString(hex.EncodeToString(sum[:]))
	}
	return b.String()
}

// TestResume breaks off transfers. What was fetched is not fetched again, if the registry
// knows ranges; the image is whole in any case.
func TestResume(t *testing.T) {
	for name, ranges := range map[string]bool{"ranges": true, "no ranges": false} {
		t.Run(name, func(t *testing.T) {
			c := &cutter{cut: 3, ranges: ranges}
			registry := imagetest.Serve(t, c.wrap)
			text := noise(100_000)
			ref := registry.Push(imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("f", text)), "x:1")
			got, err := pull(t, t.TempDir(), ref)
			if err != nil {
				t.Fatal(err)
			}
			if content(t, got, "f") != text {
				t.Error("it holds something else")
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			asked := strings.Join(c.asked, " ")
			if ranges && !(strings.Contains(asked, "bytes=4000-") && strings.Contains(asked, "bytes=12000-")) {
				t.Errorf("it asked for %q", asked)
			}
		})
	}
}

// TestDamaged: what is not what its digest says is refused, and nothing of it is left.
func TestDamaged(t *testing.T) {
	registry := imagetest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			blob := &recorder{header: http.Header{}}
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				next.ServeHTTP(blob, r)
				data := blob.body.Bytes()
				if len(data) > 10_000 {
					data[5000]++
				}
				w.Write(data)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	ref := registry.Push(imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("f", noise(100_000))), "x:1")
	dir := t.TempDir()
	_, err := pull(t, dir, ref)
	if err == nil || !strings.Contains(err.Error(), "is damaged, or was changed") || !strings.Contains(err.Error(), "layer sha256:") {
		t.Errorf("it says %v", err)
	}
	left(t, dir)
}

// left expects that a store holds nothing but locks.
func left(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "lock" {
			t.Errorf("%s is left", path)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestTwoAtOnce: two pulls of one image fetch each layer once.
func TestTwoAtOnce(t *testing.T) {
	c := &cutter{ranges: true}
	registry := imagetest.Serve(t, c.wrap)
	ref := registry.Push(imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("f", noise(1_000_000))), "x:1")
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if got, err := pull(t, dir, ref); err != nil || len(content(t, got, "f")) < 1_000_000 {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if sent := c.sum(); sent > 2_000_000 {
		t.Errorf("%d bytes were sent", sent)
	}
}
