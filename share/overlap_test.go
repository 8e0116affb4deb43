package share

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"openshell-vm/share/layout"
)

const (
	testGrace   = 10 * time.Second
	testOverlap = 2 * time.Minute
)

// overlapping makes a share whose file token is rewritten by renewals. A token
// whose key was retired begins with "void".
func overlapping(t *testing.T) *Share {
	return newTestShare(t, Options{Grace: testGrace, Overlap: testOverlap,
		Renewed: func(name string, data []byte) bool { return name == "token" && string(data[:4]) != "void" }})
}

// history publishes one generation after the other, each some time ago.
func history(t *testing.T, s *Share, list ...past) {
	t.Helper()
	now := time.Now()
	for i, p := range list {
		var files []File
		for name, data := range p.files {
			files = append(files, File{Name: name, Data: []byte(data)})
		}
		mustPublish(t, s, with(files...))
		superseded(t, s, uint64(i+1), now.Add(-p.ago))
	}
}

type past struct {
	ago   time.Duration
	files map[string]string
}

// readable returns the files of generation n that can be opened by their resolved paths.
func readable(t *testing.T, s *Share, n uint64) string {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(s.AuthDir(), layout.Generation(n)))
	if err != nil {
		return "gone"
	}
	text := ""
	for _, e := range list {
		if _, err := os.ReadFile(filepath.Join(s.AuthDir(), layout.Generation(n), e.Name())); err != nil {
			t.Error(err)
		}
		text += e.Name() + " "
	}
	return text
}

type files = map[string]string

// TestOverlap checks that files which a renewal superseded stay readable by their
// resolved paths during the overlap. Withdrawn files, removed or replaced, are gone after
// the grace.
func TestOverlap(t *testing.T) {
	for name, c := range map[string]struct {
		history []past
		want    []string      // of each old generation, after Prune
		next    time.Duration // from now; zero if nothing is superseded any more
	}{
		"renewed just now":    {[]past{{50 * time.Second, files{"token": "1111"}}, {0, files{"token": "2222"}}}, []string{"token "}, testGrace},
		"renewed a while ago": {[]past{{500 * time.Second, files{"token": "1111"}}, {100 * time.Second, files{"token": "2222"}}}, []string{"token "}, 20 * time.Second},
		"renewed long ago":    {[]past{{500 * time.Second, files{"token": "1111"}}, {120 * time.Second, files{"token": "2222"}}}, []string{"gone"}, 0},
		"beside what stayed": {[]past{{500 * time.Second, files{"token": "1111", "key": "k"}}, {100 * time.Second, files{"token": "2222", "key": "k"}}},
			[]string{"key token "}, 20 * time.Second},
		"beside what came":  {[]past{{500 * time.Second, files{"token": "1111"}}, {100 * time.Second, files{"token": "2222", "key": "k"}}}, []string{"token "}, 20 * time.Second},
		"removed just now":  {[]past{{500 * time.Second, files{"token": "1111", "key": "k"}}, {4 * time.Second, files{"token": "2222"}}}, []string{"key token "}, 6 * time.Second},
		"removed":           {[]past{{500 * time.Second, files{"token": "1111", "key": "k"}}, {10 * time.Second, files{"token": "2222"}}}, []string{"token "}, 110 * time.Second},
		"replaced":          {[]past{{500 * time.Second, files{"token": "1111", "key": "k"}}, {10 * time.Second, files{"token": "2222", "key": "l"}}}, []string{"token "}, 110 * time.Second},
		"nothing else left": {[]past{{500 * time.Second, files{"key": "k"}}, {10 * time.Second, files{"key": "l"}}}, []string{"gone"}, 0},
		"key retired":       {[]past{{500 * time.Second, files{"token": "void", "key": "k"}}, {10 * time.Second, files{"token": "2222", "key": "k"}}}, []string{"key "}, 110 * time.Second},
		"removed after renewals": {[]past{{500 * time.Second, files{"token": "1111", "key": "k"}}, {100 * time.Second, files{"token": "2222", "key": "k"}},
			{50 * time.Second, files{"token": "3333", "key": "k"}}, {10 * time.Second, files{"token": "4444"}}},
			[]string{"token ", "token ", "token "}, 20 * time.Second},
		"put back": {[]past{{500 * time.Second, files{"key": "k"}}, {50 * time.Second, files{"key": "l"}}, {20 * time.Second, files{"key": "k"}}},
			[]string{"key ", "gone"}, 70 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := overlapping(t)
			history(t, s, c.history...)
			now := time.Now()
			next, err := s.Prune(t.Context(), now)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range c.want {
				if got := readable(t, s, uint64(i+1)); got != want {
					t.Errorf("of generation %d is left: %q, want %q", i+1, got, want)
				}
			}
			if d := next.Sub(now); c.next == 0 && !next.IsZero() || c.next != 0 && (d-c.next).Abs() > time.Second {
				t.Errorf("next in %v, want %v", d, c.next)
			}
			last := c.history[len(c.history)-1]
			for name, data := range last.files {
				wantRead(t, s, name, data)
			}
			// Pruning comes to an end, however often Prune is called before.
			for n := 0; !next.IsZero(); n++ {
				if n > 2*len(c.history) {
					t.Fatal("pruning does not end")
				}
				if next, err = s.Prune(t.Context(), next); err != nil {
					t.Fatal(err)
				}
			}
			n := uint64(len(c.history))
			wantEntries(t, s, append([]string{layout.Data, layout.Generation(n), layout.Announcement(n)}, namesOf(last.files)...)...)
		})
	}
}

func namesOf(files map[string]string) (names []string) {
	for name := range files {
		names = append(names, name)
	}
	return names
}

func wantRead(t *testing.T, s *Share, name, want string) {
	t.Helper()
	if data, err := os.ReadFile(filepath.Join(s.AuthDir(), name)); err != nil || string(data) != want {
		t.Errorf("%s is %q, %v; want %q", name, data, err, want)
	}
}

// TestPublishTellsWhenToPrune checks the time that Publish returns. Withdrawn files do
// not wait for it.
func TestPublishTellsWhenToPrune(t *testing.T) {
	s := overlapping(t)
	if p := mustPublish(t, s, with(File{Name: "token", Data: []byte("1111")}, File{Name: "key", Data: []byte("k")})); !p.PruneAt.IsZero() {
		t.Errorf("nothing is superseded, but it is to be pruned at %v", p.PruneAt)
	}
	within := func(p Published, want time.Duration) {
		t.Helper()
		if d := time.Until(p.PruneAt); (d - want).Abs() > 5*time.Second {
			t.Errorf("to be pruned in %v, want %v", d, want)
		}
	}
	within(mustPublish(t, s, with(File{Name: "token", Data: []byte("2222")}, File{Name: "key", Data: []byte("k")})), testGrace)
	superseded(t, s, 2, time.Now().Add(-testGrace))
	p, err := s.Publish(t.Context(), 0, with(File{Name: "token", Data: []byte("2222")}, File{Name: "key", Data: []byte("k")}))
	if err != nil {
		t.Fatal(err)
	}
	within(p, testOverlap-testGrace)
}

// TestWithdrawnIsNotComplete checks that a generation without its withdrawn files does
// not count as complete. Read must not return it, even if Read begins late.
func TestWithdrawnIsNotComplete(t *testing.T) {
	s := overlapping(t)
	history(t, s, past{500 * time.Second, files{"token": "1111", "key": "k"}}, past{time.Minute, files{"token": "2222"}})
	if _, err := s.Prune(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	auth, err := openDir(s.AuthDir())
	if err != nil {
		t.Fatal(err)
	}
	defer auth.close()
	if err := auth.stillComplete(1); !isNotExist(err) {
		t.Errorf("generation 1 counts as complete: %v", err)
	}
	// A repair does not go back to it either.
	if err := os.Remove(filepath.Join(s.AuthDir(), layout.Data)); err != nil {
		t.Fatal(err)
	}
	if err := s.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRead(t, s, "token", "2222")
}

// TestOverlapIsBounded has many generations that were superseded longer ago than the
// grace. The number of those left has to be bounded. The ones that a sandbox may still
// have in a cache stay.
func TestOverlapIsBounded(t *testing.T) {
	s := overlapping(t)
	var list []past
	for i := range 3 * maxOverlapping {
		list = append(list, past{time.Minute, files{"token": fmt.Sprintf("%04d", i)}})
	}
	history(t, s, list...)
	if _, err := s.Prune(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if n := len(entries(t, s)); n != 2*(maxOverlapping+1)+2 {
		t.Errorf("auth/ holds %d names", n)
	}
	if got := readable(t, s, uint64(len(list)-1)); got != "token " {
		t.Errorf("of the one before the last is left: %q", got)
	}
}

// TestFailedPublishEndsOverlap checks that a full disk ends the overlap.
func TestFailedPublishEndsOverlap(t *testing.T) {
	s := overlapping(t)
	history(t, s, past{500 * time.Second, files{"token": "1111"}}, past{time.Minute, files{"token": "2222"}})
	opts := s.opts
	opts.Step = func(n int) {
		if n == 8 {
			os.Mkdir(filepath.Join(s.AuthDir(), layout.New(3)), 0o700)
		}
	}
	sabotaged, err := Open(s.Dir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := sabotaged.Publish(t.Context(), 0, with(File{Name: "token", Data: []byte("3333")})); err == nil {
		t.Fatalf("publish gives %+v", p)
	}
	if got := readable(t, s, 1); got != "gone" {
		t.Errorf("of generation 1 is left: %q", got)
	}
}
