package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"openshell-vm/internal/stream"
)

var someTime = time.Date(2026, 11, 23, 19, 3, 4, 5, time.UTC)

func TestRecords(t *testing.T) {
	for _, test := range []struct {
		kind       stream.Kind
		data, want string
	}{
		{stream.Stdout, "a line\n", "2026-11-23T19:03:04.000000005Z stdout F a line\n"},
		{stream.Stderr, "no end", "2026-11-23T19:03:04.000000005Z stderr P no end\n"},
		{stream.Stdout, "\n", "2026-11-23T19:03:04.000000005Z stdout F \n"},
		{stream.Stdout, "a\nb", "2026-11-23T19:03:04.000000005Z stdout F a\n2026-11-23T19:03:04.000000005Z stdout P b\n"},
		{stream.Stdout, "", ""},
	} {
		if got := string(appendRecords(nil, someTime, test.kind, []byte(test.data))); got != test.want {
			t.Errorf("%q: %q, want %q", test.data, got, test.want)
		}
	}
}

// What went in comes out, each stream byte for byte.
func TestRecordsRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var log []byte
	want := map[stream.Kind][]byte{}
	for range 500 {
		kind := []stream.Kind{stream.Stdout, stream.Stderr}[random.IntN(2)]
		data := make([]byte, random.IntN(40))
		for i := range data {
			data[i] = "\n\r\x00 ab\xff"[random.IntN(7)]
		}
		log = appendRecords(log, someTime, kind, data)
		want[kind] = append(want[kind], data...)
	}
	got := map[stream.Kind][]byte{}
	err := decodeLines(log, func(kind stream.Kind, data []byte) error {
		got[kind] = append(got[kind], data...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for kind := range want {
		if !bytes.Equal(got[kind], want[kind]) {
			t.Errorf("stream %d: %q\nwant %q", kind, got[kind], want[kind])
		}
	}
}

func TestWhatIsNoRecordIsPassedOver(t *testing.T) {
	log := "torn\n\n2026 stdout F\n2026 stdin F x\n2026 stdout FF x\n2026-11-23T19:03:04Z stdout F good\n"
	var got []byte
	err := decodeLines([]byte(log), func(_ stream.Kind, data []byte) error {
		got = append(got, data...)
		return nil
	})
	if string(got) != "good\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func newLog(t *testing.T, max int64, count int) *rotated {
	t.Helper()
	r, err := newRotated(filepath.Join(t.TempDir(), "log"), max, count)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func addLines(t *testing.T, r *rotated, lines ...string) {
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
		got, err := os.ReadFile(rotatedName(r.path, age))
		if string(got) != want || err != nil {
			t.Errorf("file %d: %q, %v; want %q", age, got, err, want)
		}
	}
	if _, err := os.Stat(rotatedName(r.path, 3)); !os.IsNotExist(err) {
		t.Errorf("a fourth file: %v", err)
	}
	if info, err := os.Stat(r.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestANewLogForgetsTheLastStart(t *testing.T) {
	r := newLog(t, 10, 3)
	addLines(t, r, "one", "two", "three", "four")
	again, err := newRotated(r.path, 10, 3)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	files, err := filepath.Glob(r.path + "*")
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// readAll reads what a follower gives until the log ends.
func readAll(t *testing.T, f *follower) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all strings.Builder
	for {
		lines, err := f.next(ctx)
		if errors.Is(err, io.EOF) {
			return all.String()
		} else if err != nil {
			t.Fatal(err)
		}
		all.Write(lines)
	}
}

// Output since the start, and then what comes: no line is missing, none comes
// twice, over many rotations and whenever a follower joins.
func TestFollowersMissNothing(t *testing.T) {
	r := newLog(t, 4<<10, 1000)
	const lines = 4000
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	got := make(chan string, 5)
	join := func() {
		f, err := r.follow(true, false)
		if err != nil {
			t.Error(err)
			got <- ""
			return
		}
		defer f.close()
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
	f, err := r.follow(false, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	addLines(t, r, "after")
	r.Close()
	if got := readAll(t, f); got != "after\n" {
		t.Errorf("%q", got)
	}
}

// A follower that reads nothing does not hold the writer up. When it comes back it
// is told that it missed something, and goes on with what is left.
func TestASlowFollowerLags(t *testing.T) {
	r := newLog(t, 100, 3)
	addLines(t, r, "first")
	f, err := r.follow(true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for i := range 1000 {
		addLines(t, r, fmt.Sprintf("line %d", i))
	}
	r.Close()
	got := readAll(t, f)
	if !strings.HasPrefix(got, "first\n") || !strings.HasSuffix(got, "line 998\nline 999\n") || strings.Count(got, missingHere) != 1 {
		t.Errorf("%q", got)
	}
	late, err := r.follow(true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer late.close()
	if got := readAll(t, late); strings.Count(got, missingEarlier) != 1 || !strings.HasSuffix(got, "line 999\n") {
		t.Errorf("%q", got)
	}
}

// A follower that holds has the writer wait, and misses nothing.
func TestAHolderMissesNothing(t *testing.T) {
	r := newLog(t, 100, 3)
	f, err := r.follow(true, true)
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
	waitFor(t, func() bool { return r.waited() > 0 })
	if files, err := filepath.Glob(r.path + "*"); len(files) != 3 || err != nil {
		t.Errorf("%v, %v", files, err)
	}
	got := readAll(t, f)
	f.close()
	if got != want.String() {
		t.Errorf("%d bytes of %d: %q", len(got), want.Len(), got[:min(len(got), 200)])
	}
}

// The writer goes on when the holder it waits for goes away, or when it is released.
func TestAWriterWaitsForNobodyThatIsGone(t *testing.T) {
	for name, free := range map[string]func(*rotated, *follower){
		"closed":   func(_ *rotated, f *follower) { f.close() },
		"released": func(r *rotated, _ *follower) { r.release() },
		"ended":    func(r *rotated, _ *follower) { r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newLog(t, 100, 3)
			f, err := r.follow(true, true)
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
			waitFor(t, func() bool { return r.waited() > 0 })
			free(r, f)
			await(t, done)
			r.Close()
			if name != "closed" {
				defer f.close()
			}
		})
	}
}

// What a writer has left when it is released misses no holder.
func TestTheLastOutputIsNotRotatedAway(t *testing.T) {
	r := newLog(t, 100, 3)
	f, err := r.follow(true, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for r.seq < 2 || !r.full(10) {
		addLines(t, r, "some text")
	}
	r.release()
	addLines(t, r, "the", "last", "lines")
	r.Close()
	if got := readAll(t, f); !strings.HasSuffix(got, "some text\nthe\nlast\nlines\n") || strings.Contains(got, missingHere) {
		t.Errorf("%q", got)
	}
}

// A follower reads a closed log to its end, though a new start has begun another one.
func TestAClosedLogIsReadToItsEnd(t *testing.T) {
	r := newLog(t, 100, 3)
	var followers []*follower
	follow := func() {
		f, err := r.follow(true, true)
		if err != nil {
			t.Fatal(err)
		}
		defer t.Cleanup(f.close)
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
	r.leave()
	again, err := newRotated(r.path, 100, 3)
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
	if _, err := r.follow(true, false); err == nil {
		t.Error("what is another log's is followed as this one")
	}
}

// What a full disk does not take is told where it is missing.
func TestWhatTheDiskDoesNotTakeIsTold(t *testing.T) {
	r, err := newStdioLog(filepath.Join(t.TempDir(), "log"), 1<<20, 1)
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.follow(true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	write := func(text string) { r.Write(appendRecords(nil, someTime, stream.Stdout, []byte(text))) }
	disk := r.file
	write("before\n")
	r.file = full
	write("lost\n")
	r.file = disk
	write("after\n")
	r.file = full
	write("lost at the end\n")
	r.Close()
	var got []string
	err = decodeLines([]byte(readAll(t, f)), func(_ stream.Kind, data []byte) error {
		got = append(got, string(data))
		return nil
	})
	lost := "openshell-vm: " + missingOnDisk + "\n"
	if want := []string{"before\n", lost, "after\n", lost}; !slices.Equal(got, want) || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A reader of the stored log sees each line once, or is told, while the log is rotated.
func TestReadLogOfALogThatIsRotated(t *testing.T) {
	dir := t.TempDir()
	r, err := newStdioLog(filepath.Join(dir, StdioFile), 2000, logCount)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20_000 {
			r.Write(appendRecords(nil, someTime, stream.Stdout, fmt.Appendf(nil, "%d\n", i)))
		}
	}()
	for reads, ended := 0, false; !ended; reads++ {
		select {
		case <-done:
			ended = true
		default:
		}
		var out, told bytes.Buffer
		if err := ReadLog(dir, &out, &told); err != nil {
			t.Fatal(err)
		}
		first, next := 0, 0
		for i, line := range strings.Fields(out.String()) {
			n, _ := strconv.Atoi(line)
			if i == 0 {
				first = n
			} else if n != next {
				t.Fatalf("read %d: line %d after %d", reads, n, next-1)
			}
			next = n + 1
		}
		if want := map[bool]string{true: "openshell-vm: " + missingEarlier + "\n"}[first > 0]; told.String() != want {
			t.Fatalf("read %d from line %d on: %q", reads, first, told.String())
		}
		if ended && (first == 0 || next != 20_000 || reads < 10) {
			t.Errorf("%d reads, the last from %d to %d", reads, first, next)
		}
	}
}

func TestAFollowerCanGiveUp(t *testing.T) {
	r := newLog(t, 100, 3)
	f, err := r.follow(true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestReadLogGivesTheStreamsApart(t *testing.T) {
	dir := t.TempDir()
	r, err := newRotated(filepath.Join(dir, StdioFile), 150, logCount)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"first\n", "a\n", "b", "\n", "c\n"} {
		kind := stream.Stdout
		if i == 4 {
			kind = stream.Stderr
		}
		if _, err := r.Write(appendRecords(nil, someTime, kind, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	if err := ReadLog(dir, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	if stdout.String() != "first\na\nb\n" || stderr.String() != "c\n" {
		t.Errorf("%q and %q", stdout.String(), stderr.String())
	}
	if err := ReadLog(t.TempDir(), &stdout, nil); err != nil {
		t.Errorf("a sandbox that was never started: %v", err)
	}
}

func TestTail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console.log")
	text := strings.Repeat("noise\n", 5000) + "\x1b[31mpanic\x1b[0m: no root\r\n\r\nlast\xff words"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(tail(file, 2), "|")
	if got != "panic: no root|last? words" {
		t.Errorf("%q", got)
	}
	if got := tail(file+".none", 2); got != nil {
		t.Errorf("%q", got)
	}
}
