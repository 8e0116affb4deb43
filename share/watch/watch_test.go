package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func lead(t *testing.T, auth, target string) {
	t.Helper()
	next := filepath.Join(auth, "..new")
	if err := errors.Join(os.Symlink(target, next), os.Rename(next, filepath.Join(auth, "..data"))); err != nil {
		t.Fatal(err)
	}
}

// TestGenerations: each generation is told once, within Every; one that does not last is left out;
// a share that is gone is told once, and followed again when it is back.
func TestGenerations(t *testing.T) {
	auth := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begin, got := time.Now(), []string{}
		go func() {
			for n, err := range Generations(ctx, auth, 5) {
				what := fmt.Sprint(n)
				switch {
				case errors.Is(err, fs.ErrNotExist):
					what = "gone"
				case err != nil:
					what = err.Error()
				}
				got = append(got, fmt.Sprintf("%s@%v", what, time.Since(begin)))
			}
			got = append(got, "end")
		}()
		at := func(when time.Duration, f func()) {
			time.Sleep(time.Until(begin.Add(when)))
			f()
			synctest.Wait()
		}
		at(250*time.Millisecond, func() { lead(t, auth, "..gen-00000005") })
		at(450*time.Millisecond, func() { lead(t, auth, "..gen-00000006") })
		at(650*time.Millisecond, func() { lead(t, auth, "..gen-00000007") })
		at(700*time.Millisecond, func() { lead(t, auth, "..gen-00000008") })
		at(1100*time.Millisecond, func() { lead(t, auth, "elsewhere") })
		at(1500*time.Millisecond, func() { lead(t, auth, "..gen-00000009") })
		at(time.Hour, cancel)
		want := []string{"gone@0s", "6@600ms", "8@800ms", ErrNoGeneration.Error() + "@1.2s", "9@1.6s", "end"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("told %q, wanted %q", got, want)
		}
	})
}

func TestBreak(t *testing.T) {
	auth := t.TempDir()
	lead(t, auth, "..gen-00000003")
	for n, err := range Generations(t.Context(), auth, 0) {
		if n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		break
	}
}
