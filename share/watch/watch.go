// Package watch tells a program of each new generation of a share, on the host or inside a
// sandbox. It needs no privilege, no descriptor and no inotify, which does not tell a guest of
// what its host does.
//
// It asks where ..data leads five times a second, one system call each. So a generation is told
// within [Every] of when a program that opens a file by its name gets it. When that is depends on
// how the share is mounted: at once in a container, and within the driver's staleness bound in a VM.
package watch

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"time"

	"openshell-vm/share/layout"
)

// Every is how often a share is looked at.
const Every = 200 * time.Millisecond

// ErrNoGeneration means that ..data leads to no generation: the directory is no share, or nothing
// was published there yet.
var ErrNoGeneration = errors.New("it is no share's auth directory: ..data leads to no generation")

// Current returns the generation that one gets in a share's auth directory now.
func Current(authDir string) (uint64, error) {
	target, err := os.Readlink(filepath.Join(authDir, layout.Data))
	if err != nil {
		return 0, err
	}
	n, ok := layout.ParseGeneration(target)
	if !ok {
		return 0, ErrNoGeneration
	}
	return n, nil
}

// Generations yields each generation after from as it becomes current, the newest one at once if
// that is later than from. One that is replaced within [Every] may be left out. It ends with ctx. If
// the share can't be read it yields the error, once until it can be read again, and goes on: a
// share that is gone may be mounted again.
func Generations(ctx context.Context, authDir string, from uint64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		tick := time.NewTicker(Every)
		defer tick.Stop()
		failing := false
		for {
			n, err := Current(authDir)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil && !failing && !yield(0, err):
				return
			case err == nil && n > from && !yield(n, nil):
				return
			}
			if failing = err != nil; !failing {
				from = max(from, n)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}
