package rotlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	lostEarlier = "(earlier)"
	lostHere    = "(here)"
	lostOnDisk  = "(disk)"
)

func mark() []byte { return []byte(lostOnDisk + "\n") }

func missed(wanted int) []byte {
	if wanted == 0 {
		return []byte(lostEarlier + "\n")
	}
	return []byte(lostHere + "\n")
}

// patience bounds one wait; nothing here is about speed.
const patience = time.Minute

func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

func newLog(t *testing.T, max int64, count int) *Log {
	t.Helper()
	r, err := Open(filepath.Join(t.TempDir(), "log"), Options{Max: max, Count: count, Mark: mark, Missed: missed})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func addLines(t *testing.T, r *Log, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if _, err := r.Write([]byte(l + "\n")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRotation(t *testing.T) {
	r := newLog(t, 10, 3)
	addLines(t, r, "one", "two", "three", "four", "five", "six", "seven")
	for age, want := range []string{"six\nseven\n", "four\nfive\n", "three\n"} {
		got, err := os.ReadFile(Name(r.path, age))
		if string(got) != want || err != nil {
			t.Errorf("file %d: %q, %v; want %q", age, got, err, want)
		}
	}
	if _, err := os.Stat(Name(r.path, 3)); !os.IsNotExist(err) {
		t.Errorf("a fourth file: %v", err)
	}
	if info, err := os.Stat(r.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestANewLogForgetsTheLastStart(t *testing.T) {
	r := newLog(t, 10, 3)
	addLines(t, r, "one", "two", "three", "four")
	again, err := Open(r.path, Options{Max: 10, Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	files, err := filepath.Glob(r.path + "*")
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// readAll reads from a follower until the log ends.
func readAll(t *testing.T, f *Follower) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all strings.Builder
	for {
		lines, err := f.Next(ctx)
		if errors.Is(err, io.EOF) {
			return all.String()
		} else if err != nil {
			t.Fatal(err)
		}
		all.Write(lines)
	}
}

// TestFollowersMissNothing reads from the start and goes on with new lines. Over many
// rotations, and whenever a follower joins, no line may be missing or come twice.
func TestFollowersMissNothing(t *testing.T) {
	r := newLog(t, 4<<10, 1000)
	const lines = 4000
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	got := make(chan string, 5)
	join := func() {
		f, err := r.Follow(true, false)
		if err != nil {
			t.Error(err)
			got <- ""
			return
		}
		defer f.Close()
		got <- readAll(t, f)
	}
	for i := range lines {
		if i%(lines/5) == 0 {
			go join()
		}
		addLines(t, r, fmt.Sprintf("line %d", i))
	}
	r.Close()
	for range 5 {
		if text := <-got; text != want.String() {
			t.Errorf("%d bytes of %d", len(text), want.Len())
		}
	}
}

func TestFollowWithoutReplayGivesWhatComes(t *testing.T) {
	r := newLog(t, 1<<20, 3)
	addLines(t, r, "before")
	f, err := r.Follow(false, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	addLines(t, r, "after")
	r.Close()
	if got := readAll(t, f); got != "after\n" {
		t.Errorf("%q", got)
	}
}

// TestASlowFollowerLags checks that a follower which reads nothing does not delay the
// writer. When it reads again it is told that lines are missing, and goes on with the
// lines that are left.
func TestASlowFollowerLags(t *testing.T) {
	r := newLog(t, 100, 3)
	addLines(t, r, "first")
	f, err := r.Follow(true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 1000 {
		addLines(t, r, fmt.Sprintf("line %d", i))
	}
	r.Close()
	got := readAll(t, f)
	if !strings.HasPrefix(got, "first\n") || !strings.HasSuffix(got, "line 998\nline 999\n") || strings.Count(got, lostHere) != 1 {
		t.Errorf("%q", got)
	}
	late, err := r.Follow(true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if got := readAll(t, late); strings.Count(got, lostEarlier) != 1 || !strings.HasSuffix(got, "line 999\n") {
		t.Errorf("%q", got)
	}
}

// TestAHolderMissesNothing checks that the writer waits for a holder, which misses
// nothing.
func TestAHolderMissesNothing(t *testing.T) {
	r := newLog(t, 100, 3)
	f, err := r.Follow(true, true)
	if err != nil {
		t.Fatal(err)
	}
	const lines = 1000
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	go func() {
		for i := range lines {
			addLines(t, r, fmt.Sprintf("line %d", i))
		}
		r.Close()
	}()
	waitFor(t, func() bool { return r.Waited() > 0 })
	if files, err := filepath.Glob(r.path + "*"); len(files) != 3 || err != nil {
		t.Errorf("%v, %v", files, err)
	}
	got := readAll(t, f)
	f.Close()
	if got != want.String() {
		t.Errorf("%d bytes of %d: %q", len(got), want.Len(), got[:min(len(got), 200)])
	}
}

// TestAWriterWaitsForNobodyThatIsGone checks that a waiting writer goes on when the
// holder closes, when the log is closed, and when the writer is released.
func TestAWriterWaitsForNobodyThatIsGone(t *testing.T) {
	for name, free := range map[string]func(*Log, *Follower){
		"closed":   func(_ *Log, f *Follower) { f.Close() },
		"released": func(r *Log, _ *Follower) { r.Release() },
		"ended":    func(r *Log, _ *Follower) { r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newLog(t, 100, 3)
			f, err := r.Follow(true, true)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range 1000 {
					if _, err := r.Write([]byte("some text\n")); err != nil {
						return
					}
				}
			}()
			waitFor(t, func() bool { return r.Waited() > 0 })
			free(r, f)
			waitFor(t, func() bool {
				select {
				case <-done:
					return true
				default:
					return false
				}
			})
			r.Close()
			if name != "closed" {
				defer f.Close()
			}
		})
	}
}

// TestTheLastOutputIsNotRotatedAway checks that a holder gets what is written after the
// writer was released.
func TestTheLastOutputIsNotRotatedAway(t *testing.T) {
	r := newLog(t, 100, 3)
	f, err := r.Follow(true, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r.seq < 2 || !r.full(10) {
		addLines(t, r, "some text")
	}
	r.Release()
	addLines(t, r, "the", "last", "lines")
	r.Close()
	if got := readAll(t, f); !strings.HasSuffix(got, "some text\nthe\nlast\nlines\n") || strings.Contains(got, lostHere) {
		t.Errorf("%q", got)
	}
}

// TestAClosedLogIsReadToItsEnd checks that a follower reads a closed log to its end, even
// if a new start has begun another log.
func TestAClosedLogIsReadToItsEnd(t *testing.T) {
	r := newLog(t, 100, 3)
	var followers []*Follower
	follow := func() {
		f, err := r.Follow(true, true)
		if err != nil {
			t.Fatal(err)
		}
		defer t.Cleanup(f.Close)
		followers = append(followers, f)
	}
	follow()
	var want strings.Builder
	for i := range 20 {
		addLines(t, r, fmt.Sprintf("line %d", i))
		fmt.Fprintf(&want, "line %d\n", i)
	}
	r.Close()
	follow()
	r.Leave()
	again, err := Open(r.path, Options{Max: 100, Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	addLines(t, again, "another start")
	for _, f := range followers {
		if got := readAll(t, f); got != want.String() {
			t.Errorf("%q", got)
		}
	}
	if _, err := r.Follow(true, false); err == nil {
		t.Error("what is another log's is followed as this one")
	}
}

func TestAFollowerCanGiveUp(t *testing.T) {
	r := newLog(t, 100, 3)
	f, err := r.Follow(true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestWhatTheDiskDoesNotTakeIsTold checks that the log has a note at each place where a
// full disk lost output.
func TestWhatTheDiskDoesNotTakeIsTold(t *testing.T) {
	r := newLog(t, 1<<20, 1)
	f, err := r.Follow(true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	disk := r.file
	addLines(t, r, "before")
	lose := func() {
		r.file = full
		if _, err := r.Write([]byte("lost\n")); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("a full disk: %v", err)
		}
		r.file = disk
	}
	lose()
	addLines(t, r, "after")
	lose()
	r.Close()
	if got, want := readAll(t, f), "before\n"+lostOnDisk+"\nafter\n"+lostOnDisk+"\n"; got != want {
		t.Errorf("%q", got)
	}
}

// TestARotationThatFailsChangesNothing puts a directory in the way of a new file. The
// output that does not fit is lost; nothing written before is.
func TestARotationThatFailsChangesNothing(t *testing.T) {
	for _, inTheWay := range []string{".next", ".1"} {
		t.Run(inTheWay, func(t *testing.T) {
			r := newLog(t, 10, 2)
			addLines(t, r, "one", "two")
			if err := os.MkdirAll(filepath.Join(r.path+inTheWay, "full"), 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Write([]byte("three\n")); err == nil {
				t.Error("it was written")
			}
			if got, err := os.ReadFile(r.path); string(got) != "one\ntwo\n" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
			if err := os.RemoveAll(r.path + inTheWay); err != nil {
				t.Fatal(err)
			}
			addLines(t, r, "four")
			if got, err := os.ReadFile(r.path); string(got) != lostOnDisk+"\nfour\n" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestAppend opens an existing log again and again. It has to keep the old lines and the
// bound. Where no new file can be made nothing may be lost.
func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	open := func() *Log {
		l, err := Open(path, Options{Max: 100, Count: 2, Append: true})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for i := range 100 {
		l := open()
		addLines(t, l, fmt.Sprintf("start %d", i), "and more of it")
		l.Close()
	}
	for _, name := range []string{path, path + ".1"} {
		if info, err := os.Stat(name); err != nil || info.Size() == 0 || info.Size() > 100 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if err := errors.Join(os.Remove(path+".1"), os.MkdirAll(path+".1/full", 0o700)); err != nil {
		t.Fatal(err)
	}
	l := open()
	for i := range 20 {
		addLines(t, l, fmt.Sprintf("still %d", i))
	}
	l.Close()
	if got, err := os.ReadFile(path); !strings.Contains(string(got), "start 99\n") || !strings.HasSuffix(string(got), "still 19\n") || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestWhatIsNoFile checks that a FIFO is refused.
func TestWhatIsNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(path, Options{Max: 100, Count: 2, Append: true}); err == nil {
		t.Errorf("a FIFO: %v", l)
	}
}
