package block

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"openshell-vm/drivers/vm/images/erofs"
)

// written writes an archive while it is read, so that a test needs no memory for it.
func written(t *testing.T, entries func(add func(tar.Header))) io.Reader {
	r, w := io.Pipe()
	go func() {
		out := tar.NewWriter(w)
		entries(func(h tar.Header) {
			if h.Format == 0 {
				h.Format = tar.FormatGNU
			}
			if err := out.WriteHeader(&h); err != nil {
				w.CloseWithError(err)
			}
		})
		w.CloseWithError(out.Close())
	}()
	t.Cleanup(func() { r.Close() })
	return r
}

func newBuilder(t *testing.T) *builder {
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w := erofs.New(f, erofs.Options{})
	return &builder{tree: newTree(w.Discard), out: w, free: func() (uint64, error) { return 1 << 40, nil }}
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	if !errors.Is(err, ErrHostile) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, not …%s", err, want)
	}
}

// TestImpliedDirectories: a directory that no entry names takes as much memory as one that
// is named, and a short name implies 2000 of them.
func TestImpliedDirectories(t *testing.T) {
	b := newBuilder(t)
	b.entries = maxEntries - 50_000
	var made atomic.Int64
	err := b.add(written(t, func(add func(tar.Header)) {
		for i := range 60 {
			made.Store(int64(i))
			add(tar.Header{Name: fmt.Sprint(i) + strings.Repeat("/a", 2000) + "/f"})
		}
	}))
	refused(t, err, "more than 1000000 files")
	if n := made.Load(); n > 50 {
		t.Errorf("it took %d entries", n)
	}
}

// TestLongWays: each entry leads through as many links as may be, each of them deep. All
// these steps together are bounded.
func TestLongWays(t *testing.T) {
	deep := strings.Repeat("a/", 2000)
	ways := map[string]func(n int) tar.Header{
		"entries": func(n int) tar.Header { return tar.Header{Name: fmt.Sprintf("l38/%d", n)} },
		"links": func(n int) tar.Header {
			return tar.Header{Name: fmt.Sprint(n), Typeflag: tar.TypeLink, Linkname: "l38/x"}
		},
	}
	for name, entry := range ways {
		t.Run(name, func(t *testing.T) {
			var made atomic.Int64
			b := newBuilder(t)
			b.steps = maxSteps - 1_000_000
			err := b.add(written(t, func(add func(tar.Header)) {
				add(tar.Header{Name: deep + "x"})
				add(tar.Header{Name: "l0", Typeflag: tar.TypeSymlink, Linkname: deep})
				for i := 1; i < 39; i++ { // there, back, and on to the next
					add(tar.Header{Name: fmt.Sprint("l", i), Typeflag: tar.TypeSymlink,
						Linkname: strings.Repeat("a/", 780) + strings.Repeat("../", 780) + fmt.Sprint("l", i-1)})
				}
				for i := range 10_000 {
					made.Store(int64(i))
					add(entry(i))
				}
			}))
			refused(t, err, "steps")
			if made.Load() == 10_000-1 {
				t.Error("all entries were taken")
			}
		})
	}
}

// TestWholeNames: of a long name only the last part is kept.
func TestWholeNames(t *testing.T) {
	b := newBuilder(t)
	const files = 5_000
	deep := strings.Repeat(strings.Repeat("d", 200)+"/", 20)
	held := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := held()
	err := b.add(written(t, func(add func(tar.Header)) {
		for i := range files {
			add(tar.Header{Name: deep + fmt.Sprint(i)})
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if each := (held() - before) / files; each > 1000 {
		t.Errorf("each file takes %d bytes", each)
	}
	runtime.KeepAlive(b)
}

// TestImpliedNames: the names of directories that no entry names count, too.
func TestImpliedNames(t *testing.T) {
	b := newBuilder(t)
	b.held = maxHeld - 1000
	refused(t, b.add(written(t, func(add func(tar.Header)) {
		add(tar.Header{Name: strings.Repeat(strings.Repeat("d", 200)+"/", 10) + "f"})
		add(tar.Header{Name: "g"})
	})), "names, links and attributes")
}
