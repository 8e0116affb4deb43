package follow

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/plainfile"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// reader follows a file and keeps what it was told.
type reader struct {
	t    *testing.T
	mu   sync.Mutex
	told []Found
	news chan struct{}
}

// follow follows a file until the test's end.
func follow(t *testing.T, f *Follower, path string) *reader {
	r := &reader{t: t, news: make(chan struct{}, 1)}
	t.Cleanup(f.Follow(path, 1000, r.take))
	return r
}

func (r *reader) take(found Found) {
	r.mu.Lock()
	r.told = append(r.told, found)
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// last is what was told last, in a word.
func (r *reader) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.told) == 0 {
		return "nothing"
	}
	if found := r.told[len(r.told)-1]; found.Err != nil {
		return "error: " + found.Err.Error()
	} else {
		return string(found.Data)
	}
}

// wants waits until that is told.
func (r *reader) wants(what string) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	for !strings.HasPrefix(r.last(), what) {
		select {
		case <-r.news:
		case <-deadline:
			r.t.Fatalf("told %q, not %q", r.last(), what)
		}
	}
}

// run runs a follower until the test's end.
func run(t *testing.T, o Options) *Follower {
	f, ended := New(o), make(chan struct{})
	go func() { f.Run(t.Context()); close(ended) }()
	t.Cleanup(func() { <-ended })
	return f
}

// write writes in place.
func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

// replace puts another file in a file's place.
func replace(t *testing.T, path, content string) {
	t.Helper()
	write(t, path+".new", content)
	must(t, os.Rename(path+".new", path))
}

// TestWays changes a file in each way that there is, once with events and looks that come too
// late to matter, and once with looks alone.
func TestWays(t *testing.T) {
	for name, o := range map[string]Options{
		"events": {Every: time.Hour, Quiet: 20 * time.Millisecond},
		"looks":  {Every: 30 * time.Millisecond, Quiet: 20 * time.Millisecond, NoEvents: true},
	} {
		t.Run(name, func(t *testing.T) { ways(t, run(t, o)) })
	}
}

func ways(t *testing.T, f *Follower) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	r := follow(t, f, in("file"))
	r.wants("error: no such file")
	time.Sleep(50 * time.Millisecond) // the directory may not be watched yet
	write(t, in("file"), "made")
	r.wants("made")
	write(t, in("file"), "in place")
	r.wants("in place")
	replace(t, in("file"), "replaced")
	r.wants("replaced")
	must(t, os.Remove(in("file")))
	r.wants("error: no such file")
	write(t, in("file"), "back")
	r.wants("back")
	must(t, os.Truncate(in("file"), 0))
	r.wants("")
	write(t, in("file"), strings.Repeat("x", 1001))
	r.wants("error: it has 1001 bytes, and 1000 may be read")
	replace(t, in("file"), "small again")
	r.wants("small again")
	must(t, os.Remove(in("file")), unix.Mkfifo(in("file"), 0o600))
	r.wants("error: not a regular file")
	must(t, os.Remove(in("file")), os.Mkdir(in("file"), 0o700))
	time.Sleep(10 * time.Millisecond)
	must(t, os.Remove(in("file")), os.Symlink("file", in("file")))
	r.wants("error: too many levels of symbolic links")
	must(t, os.Remove(in("file")), os.Symlink("/dev/zero", in("file")))
	r.wants("error: not a regular file")

	// As Kubernetes does: file -> ..data/file, ..data -> ..1, and ..data is swapped.
	generation := func(n int, content string) {
		must(t, os.Mkdir(in(fmt.Sprint("..", n)), 0o700))
		write(t, in(fmt.Sprintf("..%d/file", n)), content)
		must(t, os.Symlink(fmt.Sprint("..", n), in("..tmp")), os.Rename(in("..tmp"), in("..data")))
	}
	generation(1, "first")
	must(t, os.Remove(in("file")), os.Symlink("..data/file", in("file")))
	r.wants("first")
	generation(2, "second")
	must(t, os.RemoveAll(in("..1")))
	r.wants("second")
	write(t, in("..2/file"), "in a generation")
	r.wants("in a generation")

	if os.Geteuid() != 0 { // root may read all
		must(t, os.Chmod(in("..2/file"), 0))
		r.wants("error: permission denied")
		must(t, os.Chmod(in("..2/file"), 0o600))
		r.wants("in a generation")
	}
}

// TestDirectoryAnew: the directory itself is replaced. Only a look finds that, and after it
// events are seen again.
func TestDirectoryAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	must(t, os.Mkdir(dir, 0o700))
	write(t, filepath.Join(dir, "file"), "old")
	f := run(t, Options{Every: 100 * time.Millisecond, Quiet: 20 * time.Millisecond})
	r := follow(t, f, filepath.Join(dir, "file"))
	r.wants("old")
	must(t, os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700))
	write(t, filepath.Join(dir, "file"), "new")
	r.wants("new")
	write(t, filepath.Join(dir, "file"), "newer")
	r.wants("newer")
}

// TestRest: while a file is being written, its content is not told; that it does not come to
// rest is, after a while. Once it has come to rest, one look tells.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		write(t, path, "whole")
		f := New(Options{NoEvents: true, Every: time.Second})
		go f.Run(t.Context())
		r := &reader{t: t, news: make(chan struct{}, 1)}
		stop := f.Follow(path, 1000, r.take)
		defer stop()
		time.Sleep(2 * time.Second)
		if r.last() != "whole" {
			t.Fatalf("told %q", r.last())
		}
		half := func(i int) { // a torn file, longer each time
			write(t, path, strings.Repeat("half", 1+i%100))
		}
		for i := range 30 {
			half(i)
			time.Sleep(Quiet - 10*time.Millisecond)
			f.changed(f.watches.at(path))
		}
		if r.last() != "whole" {
			t.Errorf("told %q of a file that is being written", r.last())
		}
		for i := range 60 {
			half(i)
			time.Sleep(Quiet - 10*time.Millisecond)
			f.changed(f.watches.at(path))
		}
		if r.last() != "error: "+ErrRestless.Error() {
			t.Errorf("told %q of a file that never rests", r.last())
		}
		write(t, path, "whole again")
		time.Sleep(3 * time.Second)
		if r.last() != "whole again" || len(r.told) != 3 {
			t.Errorf("told %d times, last %q", len(r.told), r.last())
		}
		time.Sleep(time.Hour)
		if len(r.told) != 3 {
			t.Errorf("told %d times of a file that did not change", len(r.told))
		}
	})
}

// TestManyReaders: one file that a thousand follow is read once for all who were there, and
// who comes later is told, too, and nobody else again. No goroutine is left for any of them.
func TestManyReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "content")
	f := run(t, Options{Every: 50 * time.Millisecond, Quiet: 20 * time.Millisecond})
	r := follow(t, f, path)
	r.wants("content")
	before := runtime.NumGoroutine()
	var told atomic.Int32
	var first atomic.Pointer[byte]
	same := func(found Found) {
		if first.CompareAndSwap(nil, &found.Data[0]); first.Load() == &found.Data[0] {
			told.Add(1)
		}
	}
	var stops []func()
	for range 1000 {
		stops = append(stops, f.Follow(path, 1000, same))
	}
	for deadline := time.Now().Add(30 * time.Second); told.Load() < 1000; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 1000 were told the same bytes", told.Load())
		}
	}
	if n := runtime.NumGoroutine(); n > before+10 {
		t.Errorf("%d goroutines, and %d before", n, before)
	}
	for _, stop := range stops {
		stop()
	}
	if len(r.told) != 1 {
		t.Errorf("the first was told %d times", len(r.told))
	}
	replace(t, path, "other")
	r.wants("other")
	if told.Load() != 1000 {
		t.Errorf("%d calls: who has stopped is told", told.Load())
	}
}

// TestForgotten: nothing is kept of files that nobody follows any more.
func TestForgotten(t *testing.T) {
	f := run(t, Options{Every: 20 * time.Millisecond, Quiet: 10 * time.Millisecond})
	dir := t.TempDir()
	for range 20 {
		r := &reader{t: t, news: make(chan struct{}, 1)}
		stop := f.Follow(filepath.Join(dir, "file"), 10, r.take)
		r.wants("error: no such file")
		stop()
		stop()
	}
	f.mu.Lock()
	n := len(f.files) + len(f.waiting)
	f.mu.Unlock()
	f.watches.mu.Lock()
	n += len(f.watches.files) + len(f.watches.places) + len(f.watches.dirs)
	f.watches.mu.Unlock()
	if n != 0 {
		t.Errorf("%d things are left", n)
	}
}

// TestHanging: a file whose look does not end holds up no other, and that is told.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "good"), "good")
		f := New(Options{NoEvents: true})
		bad := &reader{t: t, news: make(chan struct{}, 1)}
		defer f.Follow(filepath.Join(dir, "bad"), 10, bad.take)()
		f.mu.Lock()
		one := f.waiting.Pop().(*file) // its look began, and has no end
		one.last = time.Now()
		f.looking[one] = struct{}{}
		f.mu.Unlock()
		go f.Run(t.Context())
		good := &reader{t: t, news: make(chan struct{}, 1)}
		defer f.Follow(filepath.Join(dir, "good"), 10, good.take)()
		time.Sleep(time.Second)
		if good.last() != "good" || bad.last() != "nothing" {
			t.Errorf("told %q and %q", good.last(), bad.last())
		}
		time.Sleep(10 * time.Second)
		if bad.last() != "error: "+ErrHangs.Error() {
			t.Errorf("told %q of a file that hangs", bad.last())
		}
		write(t, filepath.Join(dir, "bad"), "mended")
		f.results <- result{file: one, stamp: stamp{problem: "x"}} // the look has ended
		time.Sleep(10 * time.Second)
		if bad.last() != "mended" {
			t.Errorf("told %q of a file that answers again", bad.last())
		}
	})
}

// TestLocations: all names on the way that may be led elsewhere.
func TestLocations(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Mkdir(in("a"), 0o700), os.Mkdir(in("a/b"), 0o700), os.Symlink("../c", in("a/up")), os.Symlink(in("a"), in("abs")),
		os.Symlink("abs/b/../up", in("far")), os.Symlink("loop", in("loop")))
	for path, want := range map[string][]string{
		"plain":     {"plain"},
		"a/b/x":     {"a/b/x"},
		"abs/b/x":   {"abs", "a/b/x"},
		"a/up":      {"a/up", "c"},
		"far/x":     {"far", "abs", "a/up", "c/x"},
		"none/of/x": {"none/of/x"},
	} {
		for i := range want {
			want[i] = in(want[i])
		}
		if got, err := Locations(in(path)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, not %q", path, got, err, want)
		}
	}
	if _, err := Locations(in("loop/x")); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
}

// TestRead reads once.
func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "fresh")
	if found := Read(t.Context(), path, 10, nil); found.Err != nil || !bytes.Equal(found.Data, []byte("fresh")) || found.Mode != 0o600 {
		t.Errorf("%+v", found)
	}
	if found := Read(t.Context(), filepath.Dir(path), 10, nil); found.Err == nil || found.Err.Error() != plainfile.ErrIrregular.Error() {
		t.Errorf("a directory: %+v", found)
	}
	if found := Read(t.Context(), path, 4, nil); found.Err == nil || found.Data != nil {
		t.Errorf("too large: %+v", found)
	}
}
