package sources

import (
	"fmt"
	"log/slog"
	"testing"

	"openshell-vm/internal/follow"
	"openshell-vm/internal/vocab"
)

// TestGave tells an old content of a source from what was another's.
func TestGave(t *testing.T) {
	w := newWorld(t)
	w.eventually("it runs", func() bool {
		w.Sources.mu.Lock()
		defer w.Sources.mu.Unlock()
		return w.running
	})
	old := func(file, data string, want bool) {
		t.Helper()
		if got := w.Gave("box", file, []byte(data)); got != want {
			t.Errorf("%s with %q: %v", file, data, got)
		}
	}
	path := w.write("file", "one")
	first := vocab.Source{Name: "dir/f", File: path}
	w.Show("box", []vocab.Source{first})
	w.eventually("it is read", func() bool { return w.State(first).Has })
	w.write("file", "two")
	w.eventually("the change is seen", func() bool { return len(w.told()) == 2 })
	old("dir/f", "one", true)
	old("dir/f", "two", true)
	old("dir/f", "a secret of that name", false)
	old("dir/other", "one", false)
	if w.Gave("another", "dir/f", []byte("one")) {
		t.Error("a share that does not show it")
	}
	other := vocab.Source{Name: "dir/f", File: w.write("other", "three")}
	w.Show("box", []vocab.Source{other})
	old("dir/f", "one", false)
	w.Show("box", nil)
	old("dir/f", "three", false)
}

// TestGaveBefore: what an older gateway published of a source counts as the source's, until the
// share has shown something else.
func TestGaveBefore(t *testing.T) {
	w := &world{T: t, dir: t.TempDir()}
	w.Sources = New(Options{Log: slog.New(slog.DiscardHandler), Follower: follow.New(follow.Options{}), Changed: func(string, []string, Files, bool) {}})
	here := vocab.Source{Name: "f", File: w.write("file", "one")}
	other := vocab.Source{Name: "f", File: w.write("other", "two")}
	w.Show("box", []vocab.Source{here})
	w.running = true
	if !w.Gave("box", "f", []byte("before")) || w.Gave("box", "g", []byte("before")) {
		t.Error("since the beginning")
	}
	w.Show("box", []vocab.Source{other})
	w.Show("box", []vocab.Source{here})
	if w.Gave("box", "f", []byte("before")) || len(w.inherited) != 0 {
		t.Errorf("after a change, %v", w.inherited)
	}
}

// TestGivenIsBounded: a feed remembers the newest, and each once.
func TestGivenIsBounded(t *testing.T) {
	var g given
	for i := range 2 * mostGiven {
		g.note(one(fmt.Append(nil, i)))
		g.note(one(fmt.Append(nil, i)))
	}
	var last given
	last.note(one(fmt.Append(nil, 2*mostGiven-1)))
	if len(g) != mostGiven || g[mostGiven-1] != last[0] {
		t.Errorf("%d are remembered", len(g))
	}
}
