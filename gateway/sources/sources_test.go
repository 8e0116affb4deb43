package sources

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/internal/follow"
	"openshell-vm/internal/vocab"
	"openshell-vm/share"
)

const longEnough = time.Minute

// world is a Sources that runs, and what it told.
type world struct {
	*testing.T
	*Sources
	dir string

	mu      sync.Mutex
	changed []string // "id name data"
	refused error
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, dir: t.TempDir()}
	allowed := func(...string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.refused
	}
	follower := follow.New(follow.Options{Judge: allowed})
	w.Sources = New(Options{Log: slog.New(slog.DiscardHandler), Allowed: allowed, Follower: follower, Changed: func(id string, names []string, files Files, _ bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed = append(w.changed, fmt.Sprintf("%s %s %s", id, strings.Join(names, "+"), files[""]))
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var both sync.WaitGroup
		both.Go(func() { follower.Run(ctx) })
		w.Sources.Run(ctx)
		both.Wait()
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func (w *world) write(name, text string) string {
	w.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		w.Fatal(err)
	}
	return path
}

func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(longEnough); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("not within %v: %s; told %q", longEnough, what, w.told())
		}
	}
}

func (w *world) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.changed)
}

func (w *world) await(list ...vocab.Source) error {
	release, err := w.Await(w.Context(), list)
	release()
	return err
}

// TestOneFeedForAll: the same command for many shares runs once, and a change reaches all.
func TestOneFeedForAll(t *testing.T) {
	w := newWorld(t)
	count := filepath.Join(w.dir, "count")
	prog := w.write("prog", "#!/bin/sh\necho run >>"+count+"\ncat "+filepath.Join(w.dir, "out"))
	w.write("out", "first")
	followed := w.write("followed", "a")
	for i := range 100 {
		w.Show(fmt.Sprint("box", i), []vocab.Source{
			{Name: "token", Command: []string{prog}}, {Name: "again", Command: []string{prog}, Mode: 0o400}, {Name: "f", File: followed}})
	}
	w.eventually("all have both", func() bool { return len(w.told()) == 200 })
	if runs, _ := os.ReadFile(count); string(runs) != "run\n" || len(w.feeds) != 2 {
		t.Errorf("the command ran %q, %d feeds", runs, len(w.feeds))
	}
	if !slices.Contains(w.told(), "box7 token+again first") || !slices.Contains(w.told(), "box99 f a") {
		t.Errorf("told %q", w.told()[:10])
	}
	w.write("followed", "b")
	w.eventually("all have the change", func() bool { return len(w.told()) == 300 })

	files, err := Shown{w.Sources, []vocab.Source{{Name: "x/again", Command: []string{prog}, Mode: 0o400}, {Name: "f", File: followed}}, w.dir}.Files(1)
	if err != nil || len(files) != 2 || files[0].Mode != 0o400 || string(files[0].Data) != "first" || string(files[1].Data) != "b" {
		t.Errorf("%v, %v", files, err)
	}
	for i := range 100 {
		w.Show(fmt.Sprint("box", i), nil)
	}
	if len(w.shown) != 0 {
		t.Errorf("%d shares are left", len(w.shown))
	}
	w.eventually("no feed is left", func() bool { return w.count() == 0 })
}

// count returns how many feeds there are.
func (w *world) count() int {
	w.Sources.mu.Lock()
	defer w.Sources.mu.Unlock()
	return len(w.feeds)
}

// TestCreatedAndStarted: what is needed again soon is not asked for again, and is kept fresh again.
func TestCreatedAndStarted(t *testing.T) {
	w := newWorld(t)
	count := filepath.Join(w.dir, "count")
	prog := w.write("prog", "#!/bin/sh\necho run >>"+count+"\necho good")
	list := []vocab.Source{{Name: "token", Command: []string{prog}, Every: minEvery}}
	for range 3 {
		if err := w.await(list...); err != nil {
			t.Fatal(err)
		}
	}
	w.Show("box", list)
	w.eventually("it is told", func() bool { return len(w.told()) == 1 })
	if runs, _ := os.ReadFile(count); string(runs) != "run\n" {
		t.Errorf("the command ran %q", runs)
	}
	w.eventually("it runs again when that is due", func() bool { runs, _ := os.ReadFile(count); return string(runs) == "run\nrun\n" })
	w.Show("box", nil)
	w.eventually("nothing of it is kept", func() bool { return w.count() == 0 })
	if err := w.await(list...); err != nil {
		t.Fatal(err)
	}
	if runs, _ := os.ReadFile(count); string(runs) != "run\nrun\nrun\n" {
		t.Errorf("after a while the command ran %q", runs)
	}
}

// TestFailingSources: the last good content stays, the reason is told, and it recovers by itself.
func TestFailingSources(t *testing.T) {
	w := newWorld(t)
	file := w.write("file", "good")
	list := []vocab.Source{{Name: "f", File: file}}
	w.Show("box", list)
	w.eventually("it is read", func() bool { return len(w.told()) == 1 })
	holds := func(want string) bool {
		files, err := Shown{w.Sources, list, w.dir}.Files(1)
		return err == nil && len(files) == 1 && string(files[0].Data) == want
	}
	for name, break_ := range map[string]func() error{
		"removed":      func() error { return os.Remove(file) },
		"unreadable":   func() error { return os.Truncate(file, MaxFile+1) },
		"a directory":  func() error { return os.Mkdir(file, 0o700) },
		"a link to it": func() error { return os.Symlink(file, file) },
	} {
		_ = os.RemoveAll(file)
		if name == "unreadable" {
			w.write("file", "good")
		}
		if err := break_(); err != nil && name != "removed" {
			t.Fatal(err)
		}
		w.eventually(name+" is told", func() bool { return len(w.Problems(list, time.Now())) == 1 })
		if !holds("good") {
			t.Errorf("%s: the last good content is gone", name)
		}
		_ = os.RemoveAll(file)
		w.write("file", "good")
		w.eventually(name+" is over", func() bool { return len(w.Problems(list, time.Now())) == 0 })
	}
	w.mu.Lock()
	w.refused = fmt.Errorf("a sandbox can write it")
	w.mu.Unlock()
	w.write("file", "evil")
	w.eventually("it is refused", func() bool {
		p := w.Problems(list, time.Now())
		return len(p) == 1 && strings.Contains(p[0], "a sandbox can write it")
	})
	if !holds("good") {
		t.Error("what a sandbox can write got into the share")
	}
}

// TestCommands: one that fails is tried again, and what it printed last stays.
func TestCommands(t *testing.T) {
	w := newWorld(t)
	state := w.write("state", "ok")
	prog := w.write("prog", "#!/bin/sh\nread s <"+state+"\ncase $s in ok*) echo \"content-$s\";; *) echo secret; exit 7;; esac\n")
	list := []vocab.Source{{Name: "t", Command: []string{prog}, Every: minEvery}}
	w.write("state", "bad\n")
	err := w.await(list...)
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || strings.Contains(err.Error(), "secret") {
		t.Errorf("a command that fails at first: %v", err)
	}
	w.eventually("the feed is gone", func() bool { w.Sources.mu.Lock(); defer w.Sources.mu.Unlock(); return len(w.feeds) == 0 })
	w.write("state", "ok1\n")
	if err := w.await(list...); err != nil {
		t.Error(err)
	}
	w.Show("box", list)
	w.eventually("it ran", func() bool { return slices.Contains(w.told(), "box t content-ok1\n") })
	w.write("state", "bad\n")
	f := w.Sources.feeds[keyOf(list[0])]
	w.due.Set(f.key, time.Now(), time.Now())
	w.eventually("the failure is told", func() bool { return len(w.Problems(list, time.Now())) == 1 })
	files, err := Shown{w.Sources, list, w.dir}.Files(1)
	if err != nil || string(files[0].Data) != "content-ok1\n" {
		t.Errorf("%v, %v", files, err)
	}
	if at := w.State(list[0]).NextAt; at.After(time.Now().Add(time.Minute)) {
		t.Errorf("it is tried again only at %v", at)
	}
	w.write("state", "ok2\n")
	w.eventually("it works again", func() bool { return slices.Contains(w.told(), "box t content-ok2\n") })
	if p := w.Problems(list, time.Now()); len(p) != 0 {
		t.Errorf("still told: %q", p)
	}
}

// TestNeverTwoAtOnce: however many ask, one command runs at a time.
func TestNeverTwoAtOnce(t *testing.T) {
	w := newWorld(t)
	lock := filepath.Join(w.dir, "lock")
	prog := w.write("prog", "#!/bin/sh\nmkdir "+lock+" || exit 1\nsleep 0.05\nrmdir "+lock+"\necho ok\n")
	list := []vocab.Source{{Name: "t", Command: []string{prog}}}
	w.Show("box", list)
	f := w.Sources.feeds[keyOf(list[0])]
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { w.again(t.Context(), f) })
	}
	all.Wait()
	if st := w.State(list[0]); !st.Has || st.Problem != "" {
		t.Errorf("%+v", st)
	}
}

// TestWhenACommandRunsAgain: before what it printed expires.
func TestWhenACommandRunsAgain(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		spec     vocab.Source
		st       Known
		from, to time.Duration
	}{
		"unknown":         {vocab.Source{}, Known{}, usualEvery, usualEvery},
		"every":           {vocab.Source{Every: time.Minute}, Known{}, time.Minute, time.Minute},
		"expires":         {vocab.Source{}, Known{ExpiresAt: now.Add(time.Hour)}, 27 * time.Minute, 33 * time.Minute},
		"both":            {vocab.Source{Every: time.Minute}, Known{ExpiresAt: now.Add(time.Hour)}, time.Minute, time.Minute},
		"expires first":   {vocab.Source{Every: time.Hour}, Known{ExpiresAt: now.Add(time.Minute)}, 27 * time.Second, 33 * time.Second},
		"expires at once": {vocab.Source{}, Known{ExpiresAt: now.Add(time.Second)}, soonest, soonest},
		"failed":          {vocab.Source{}, Known{failures: 1}, 2 * time.Second, 4 * time.Second},
		"failed often":    {vocab.Source{}, Known{failures: 100}, 20 * time.Second, 31 * time.Second},
	} {
		c.st.MadeAt = now
		f := &feed{spec: c.spec, state: c.st, key: "k"}
		if got := f.next(now).Sub(now); got < c.from-time.Second || got > c.to+time.Second {
			t.Errorf("%s: in %v", name, got)
		}
	}
}

// TestNothingYet: what a source has not given yet comes out of the share, and is said to be
// missing if that has nothing either.
func TestNothingYet(t *testing.T) {
	w := newWorld(t)
	s, err := share.Create(filepath.Join(w.dir, "share"), share.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Remove(context.Background()) })
	if _, err := s.Publish(t.Context(), 0, func(uint64) ([]share.File, error) {
		return []share.File{{Name: "d/held", Data: []byte("last")}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(w.dir, "missing")
	shown := Shown{w.Sources, []vocab.Source{{Name: "d/held", File: missing}, {Name: "other", File: missing}}, s.AuthDir()}
	files, err := shown.Files(1)
	if len(files) != 1 || string(files[0].Data) != "last" || err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("%v, %v", files, err)
	}
	if err := w.await(vocab.Source{Name: "other", File: missing}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("awaited: %v", err)
	}
}

// TestTooMuch: a file that grows over the limit of all keeps its last content, and takes no other
// away.
func TestTooMuch(t *testing.T) {
	w := newWorld(t)
	var list []vocab.Source
	for i := range MaxAll/MaxFile + 1 {
		name := fmt.Sprint("f", i)
		list = append(list, vocab.Source{Name: name, File: w.write(name, strings.Repeat("x", MaxFile/2))})
	}
	w.Show("box", list)
	w.eventually("all are read", func() bool { return len(w.told()) == len(list) })
	s, err := share.Create(filepath.Join(w.dir, "share"), share.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Remove(context.Background()) })
	shown := Shown{w.Sources, list, s.AuthDir()}
	if _, err := s.Publish(t.Context(), 0, shown.Files); err != nil {
		t.Fatal(err)
	}
	for i := range len(list) - 1 {
		w.write(fmt.Sprint("f", i), strings.Repeat("y", MaxFile))
	}
	w.eventually("all have grown", func() bool { return len(w.told()) == 2*len(list)-1 })
	files, err := shown.Files(2)
	if len(files) != len(list) || err == nil || !strings.Contains(err.Error(), "at most 8 MiB") {
		t.Errorf("%d of %d files, %v", len(files), len(list), err)
	}
	size := 0
	for _, f := range files {
		size += len(f.Data)
	}
	if size > MaxAll {
		t.Errorf("%d bytes", size)
	}
}

func TestComplete(t *testing.T) {
	file := func(name string) vocab.Source { return vocab.Source{Name: name, File: "/f"} }
	for name, c := range map[string]struct {
		list []vocab.Source
		says string
	}{
		"good":             {[]vocab.Source{file("a"), file("d/e"), {Name: "t", Command: []string{"gh", "auth", "token"}, Every: time.Minute, Format: "raw", Mode: 0o400}}, ""},
		"the token":        {[]vocab.Source{file("sandbox.jwt")}, "sandbox.jwt already"},
		"below the token":  {[]vocab.Source{file("sandbox.jwt/x")}, "sandbox.jwt already"},
		"taken":            {[]vocab.Source{file("taken")}, "taken already"},
		"twice":            {[]vocab.Source{file("a"), file("a/b")}, "a already"},
		"reserved":         {[]vocab.Source{file("..data")}, "reserved"},
		"both":             {[]vocab.Source{{Name: "a", File: "/f", Command: []string{"x"}}}, "one source"},
		"none":             {[]vocab.Source{{Name: "a"}}, "one source"},
		"relative":         {[]vocab.Source{{Name: "a", File: "f"}}, "no absolute path"},
		"relative program": {[]vocab.Source{{Name: "a", Command: []string{"./f"}}}, "relative path"},
		"every of a file":  {[]vocab.Source{{Name: "a", File: "/f", Every: time.Hour}}, "no every"},
		"too often":        {[]vocab.Source{{Name: "a", Command: []string{"x"}, Every: time.Second}}, "every=1s"},
		"format":           {[]vocab.Source{{Name: "a", Command: []string{"x"}, Format: "xml"}}, "no format"},
		"mode":             {[]vocab.Source{{Name: "a", File: "/f", Mode: 0o666}}, "mode"},
		"set-user-id":      {[]vocab.Source{{Name: "a", File: "/f", Mode: 0o4555}}, "mode"},
		"unreadable":       {[]vocab.Source{{Name: "a", File: "/f", Mode: 0o044}}, "mode"},
		"too many":         {make([]vocab.Source, MaxSources+1), "too many"},
	} {
		_, err := Complete(c.list, []string{"taken"})
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDroppedWhileItRuns: a command that runs when its share stops runs to its end, and not twice at
// once if the share starts again meanwhile.
func TestDroppedWhileItRuns(t *testing.T) {
	w := newWorld(t)
	lock, began := filepath.Join(w.dir, "lock"), filepath.Join(w.dir, "began")
	prog := w.write("prog", "#!/bin/sh\nmkdir "+lock+" || exit 1\ntouch "+began+"\nsleep 0.5\nrmdir "+lock+"\necho ok\n")
	list := []vocab.Source{{Name: "t", Command: []string{prog}}}
	w.Show("box", list)
	w.eventually("it runs", func() bool { _, err := os.Stat(began); return err == nil })
	w.Show("box", nil)
	w.Show("box", list)
	if err := w.await(list...); err != nil {
		t.Error(err)
	}
	w.Show("box", nil)
	w.eventually("it is dropped", func() bool { w.Sources.mu.Lock(); defer w.Sources.mu.Unlock(); return len(w.feeds) == 0 })
}

// TestAwaitTriesAgain: who asks for a source whose command has failed hears of a new run.
func TestAwaitTriesAgain(t *testing.T) {
	w := newWorld(t)
	prog := w.write("prog", "#!/bin/sh\nexit 3\n")
	list := []vocab.Source{{Name: "t", Command: []string{prog}}}
	w.Show("box", list)
	w.eventually("it failed often", func() bool { return w.State(list[0]).failures >= 2 })
	w.write("prog", "#!/bin/sh\necho ok\n")
	if err := w.await(list...); err != nil {
		t.Errorf("what was mended fails still: %v", err)
	}
}
