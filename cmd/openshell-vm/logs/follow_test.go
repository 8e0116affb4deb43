package logs

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// What was stored is cut to its last lines. Nothing after it is lost or doubled, whatever
// pieces the stream comes in.
func TestFollowTail(t *testing.T) {
	const stored, later = "1\n2\n3\nha", "lf\n5\n6\n7\n"
	for _, c := range []struct {
		n    int
		want string
	}{{0, "lf\n5\n6\n7\n"}, {1, "half\n5\n6\n7\n"}, {2, "3\nhalf\n5\n6\n7\n"}, {9, stored + later}} {
		for size := 1; size <= len(stored+later); size++ {
			out := temporary(t)
			w := newFollower(c.n, int64(len(stored))).to(out)
			for rest := stored + later; rest != ""; {
				k := min(size, len(rest))
				if n, err := io.WriteString(w, rest[:k]); n != k || err != nil {
					t.Fatal(n, err)
				}
				rest = rest[k:]
			}
			if got := written(t, out); got != c.want {
				t.Errorf("last %d lines in pieces of %d: %q, want %q", c.n, size, got, c.want)
			}
		}
	}
}

// If a part of a log is rotated away meanwhile, the log is shorter than was counted. What
// is there comes all the same, once nothing has come for a while.
func TestFollowTailOfRotatedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := temporary(t)
		f := newFollower(1, 1000)
		w := f.to(out)
		io.WriteString(w, "1\n2\n")
		if got := written(t, out); got != "" {
			t.Errorf("before the end of what was stored: %q", got)
		}
		time.Sleep(settled)
		synctest.Wait()
		io.WriteString(w, "3\n")
		if got := written(t, out); got != "2\n3\n" {
			t.Errorf("after it: %q", got)
		}
		if err := f.close(); err != nil || written(t, out) != "2\n3\n" {
			t.Errorf("at the end: %v, %q", err, written(t, out))
		}
	})
}

// A stream that ends early gives what it gave.
func TestFollowTailEnds(t *testing.T) {
	out := temporary(t)
	f := newFollower(1, 1000)
	io.WriteString(f.to(out), "1\n2\n")
	if err := f.close(); err != nil || written(t, out) != "2\n" {
		t.Errorf("%v, %q", err, written(t, out))
	}
	io.WriteString(f.to(out), "3\n")
	if written(t, out) != "2\n3\n" {
		t.Errorf("after the end: %q", written(t, out))
	}
}

func temporary(t *testing.T) *os.File {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func written(t *testing.T, f *os.File) string {
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
