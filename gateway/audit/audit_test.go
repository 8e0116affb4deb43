package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, path string) *Log {
	t.Helper()
	l := New(path, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { l.Close() })
	return l
}

// read returns what the log holds, by line.
func read(t *testing.T, l *Log) (all []Event) {
	t.Helper()
	err := l.Copy(t.Context(), false, func(lines []byte) error {
		for text := range bytes.Lines(lines) {
			var e Event
			if err := json.Unmarshal(text, &e); err != nil {
				t.Errorf("%q: %v", text, err)
			}
			all = append(all, e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestAcrossGateways: a log outlives its gateway, also over its files.
func TestAcrossGateways(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path)
	long := strings.Repeat("x", 400)
	n := uint64(0)
	for n < 20_000 { // over a file
		n++
		l.Write(Event{What: Publish, Sandbox: long, TokenID: "j", Generation: n})
	}
	l.Close()
	if _, err := os.Stat(path + ".1"); err != nil {
		t.Fatal("the test fills no file: ", err)
	}
	next := open(t, path)
	next.Write(Event{What: Retire, KeyID: "k"})
	all := read(t, next)
	if last := all[len(all)-1]; last.What != Retire || last.Time.IsZero() {
		t.Errorf("the last is %+v", last)
	}
	for i, e := range all[:len(all)-1] {
		if want := n - uint64(len(all)-2-i); e.Generation != want {
			t.Fatalf("line %d of %d is of generation %d, not %d", i, len(all), e.Generation, want)
		}
	}
	if got, least := len(all), maxFile/600; got < least {
		t.Errorf("%d lines are kept, at least %d fit", got, least)
	}
}

// TestFollowed: who follows gets what comes, until the context ends.
func TestFollowed(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "audit.log"))
	l.Write(Event{What: Begin})
	ctx, cancel := context.WithCancel(t.Context())
	var got []string
	err := l.Copy(ctx, true, func(lines []byte) error {
		got = append(got, string(lines))
		switch len(got) {
		case 1:
			l.Write(Event{What: Revoke, Reason: "by\nhand \x1b[31m"})
		case 2:
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(got) != 2 || !strings.Contains(got[1], `"reason":"by; hand"`) {
		t.Errorf("%v, %q", err, got)
	}
}

// TestNone: a gateway without an audit log goes on.
func TestNone(t *testing.T) {
	var l *Log
	l.Write(Event{What: Publish})
	if err := errors.Join(l.Copy(t.Context(), true, nil), l.Close()); err != nil {
		t.Error(err)
	}
}

// TestOpensLater: what can't be opened now is opened when it can be.
func TestOpensLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	l := open(t, filepath.Join(dir, "audit.log"))
	l.Write(Event{What: Publish})
	if err := l.Copy(t.Context(), false, nil); err == nil {
		t.Error("nothing is told of a log that can't be opened")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.Write(Event{What: Revoke})
	if all := read(t, l); len(all) != 1 || all[0].What != Revoke {
		t.Errorf("%+v", all)
	}
}
