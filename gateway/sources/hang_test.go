package sources

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/internal/follow"
	"openshell-vm/internal/vocab"
	"openshell-vm/internal/whichdir/deadfs"
)

// TestHangs: sources whose file systems do not answer keep what they gave last, tell of it, hold up
// no other, and recover once those answer.
func TestHangs(t *testing.T) {
	w := newWorld(t)
	w.Sources.hangs = 300 * time.Millisecond
	dead := filepath.Join(w.dir, "dead")
	if err := os.Mkdir(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	w.write("dead/prog", "#!/bin/sh\necho good\n")
	w.write("dead/file", "good")
	w.write("good", "one")
	list := []vocab.Source{{Name: "c", Command: []string{filepath.Join(dead, "prog")}}, {Name: "f", File: filepath.Join(dead, "file")}}
	other := vocab.Source{Name: "o", Command: []string{"cat", filepath.Join(w.dir, "good")}}
	w.Show("box", append(list, other))
	w.eventually("all are read", func() bool { return len(w.told()) == 3 })
	end := deadfs.Mount(t, dead)
	w.due.Set(keyOf(list[0]), time.Now(), time.Now())
	w.eventually("both tell", func() bool {
		p := strings.Join(w.Problems(list, time.Now()), "\n")
		return strings.Contains(p, "c is not renewed") && strings.Contains(p, errHangs.Error()) && strings.Contains(p, follow.ErrHangs.Error())
	})
	files, err := Shown{w.Sources, list, w.dir}.Files(1)
	if err != nil || len(files) != 2 || string(files[0].Data) != "good\n" || string(files[1].Data) != "good" {
		t.Errorf("%v, %v", files, err)
	}
	w.write("good", "two")
	w.due.Set(keyOf(other), time.Now(), time.Now())
	w.eventually("the other one goes on", func() bool { return strings.Contains(strings.Join(w.told(), "\n"), "box o two") })
	if p := w.Problems([]vocab.Source{other}, time.Now()); len(p) != 0 {
		t.Errorf("%q", p)
	}
	end()
	w.eventually("both recover", func() bool { return len(w.Problems(list, time.Now())) == 0 })
}

// TestEndsWhileOneHangs: a source that hangs keeps no gateway from ending.
func TestEndsWhileOneHangs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "prog")
	deadfs.Mount(t, dir)
	s := New(Options{Log: slog.New(slog.DiscardHandler), Follower: follow.New(follow.Options{}), Changed: func(string, []string, Files, bool) {}})
	s.hangs = time.Millisecond
	list := []vocab.Source{{Name: "c", Command: []string{path}}}
	s.Show("box", list)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	for end := time.Now().Add(longEnough); s.State(list[0]).Problem == ""; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not told")
		}
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(longEnough):
		t.Fatal("it does not end")
	}
}
