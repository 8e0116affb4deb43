package logs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"openshell-vm/internal/rotlog"
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
		if got := string(Append(nil, someTime, test.kind, []byte(test.data))); got != test.want {
			t.Errorf("%q: %q, want %q", test.data, got, test.want)
		}
	}
}

// TestRecordsRoundTrip checks that each stream is read back byte for byte.
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
		log = Append(log, someTime, kind, data)
		want[kind] = append(want[kind], data...)
	}
	got := map[stream.Kind][]byte{}
	err := Decode(log, func(kind stream.Kind, data []byte) error {
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
	err := Decode([]byte(log), func(_ stream.Kind, data []byte) error {
		got = append(got, data...)
		return nil
	})
	if string(got) != "good\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestReadLogOfALogThatIsRotated reads the stored log during rotations. The reader has
// to get each line once, or a note about the lines that it missed.
func TestReadLogOfALogThatIsRotated(t *testing.T) {
	dir := t.TempDir()
	r, err := openStdio(dir, 2000, logCount)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20_000 {
			r.Write(Append(nil, someTime, stream.Stdout, fmt.Appendf(nil, "%d\n", i)))
		}
	}()
	for reads, ended := 0, false; !ended; reads++ {
		select {
		case <-done:
			ended = true
		default:
		}
		var out, told bytes.Buffer
		if err := Read(dir, &out, &told); err != nil {
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

// TestNotesAreRecords checks that the stdio log's notes about missing output are
// records of standard error.
func TestNotesAreRecords(t *testing.T) {
	for text, note := range map[string][]byte{
		missingOnDisk: note(missingOnDisk), missingEarlier: missed(0), missingHere: missed(1), missingLate: Late(),
	} {
		err := Decode(note, func(kind stream.Kind, data []byte) error {
			if kind != stream.Stderr || string(data) != "openshell-vm: "+text+"\n" {
				t.Errorf("%d: %q", kind, data)
			}
			return nil
		})
		if err != nil || len(note) == 0 {
			t.Error(err)
		}
	}
}

func TestReadLogGivesTheStreamsApart(t *testing.T) {
	dir := t.TempDir()
	r, err := rotlog.Open(filepath.Join(dir, StdioFile), rotlog.Options{Max: 150, Count: logCount})
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"first\n", "a\n", "b", "\n", "c\n"} {
		kind := stream.Stdout
		if i == 4 {
			kind = stream.Stderr
		}
		if _, err := r.Write(Append(nil, someTime, kind, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	if err := Read(dir, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	if stdout.String() != "first\na\nb\n" || stderr.String() != "c\n" {
		t.Errorf("%q and %q", stdout.String(), stderr.String())
	}
	if err := Read(t.TempDir(), &stdout, nil); err != nil {
		t.Errorf("a sandbox that was never started: %v", err)
	}
}

func TestTail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console.log")
	text := strings.Repeat("noise\n", 5000) + "\x1b[31mpanic\x1b[0m: no root\r\n\r\nlast\xff words"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(Tail(file, 2), "|")
	if got != "panic: no root|last? words" {
		t.Errorf("%q", got)
	}
	if got := Tail(file+".none", 2); got != nil {
		t.Errorf("%q", got)
	}
}
