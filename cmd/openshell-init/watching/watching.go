// Package watching follows the share, so that a guest that caches names sees a renewal in
// well under a second.
package watching

import (
	"context"
	"fmt"
	"log"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/cmd/openshell-init/forget"
	"openshell-vm/share/layout"
)

// How the watch works. A guest may cache names of the share for seconds, but never that
// a name is missing. The host makes the name ..is-N after it has committed generation N.
// So the watch does this:
//
//  1. Ask for the name ..is-N of the next generation, five times a second. A guest that
//     caches no names asks once a second: it only reports what it sees, and an emulated
//     processor is slow.
//  2. If that name is there but ..data still leads to an old generation, drop the cached
//     names and look again, maxDrops times at most.
//  3. Once a second take N from ..data itself: announcements may have come and gone
//     while the guest was paused.
//  4. Tell the host when the guest's view has moved on.
//
// Whether a token is valid never depends on the watch.
const (
	everyCached   = 200 * time.Millisecond // step 1
	everyUncached = time.Second            // step 1, no names cached
	maxDrops      = 5                      // step 2
	dropPause     = 20 * time.Millisecond  // step 2, between two drops
	rereadEvery   = time.Second            // step 3
)

// view is a guest's view of a share.
type view interface {
	// current returns the generation that ..data leads to.
	current() (uint64, error)
	// announced reports whether the name that announces generation n is there.
	announced(n uint64) bool
	// drop makes the kernel forget cached names.
	drop() error
}

// watch follows a share until ctx ends, looking at it every so often, and
// calls seen with its first generation and each new one.
func watch(ctx context.Context, v view, every time.Duration, seen func(uint64)) {
	now, looked := uint64(0), time.Time{}
	look := func() {
		looked = time.Now()
		if n, err := v.current(); err == nil && n != now {
			now = n
			seen(n)
		}
	}
	look()
	tick := time.NewTicker(every)
	defer tick.Stop()
	tried := uint64(0) // the last announcement that all drops were tried for
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(looked) >= rereadEvery-every/2 {
			look()
		}
		next := now + 1
		if next == tried || !v.announced(next) {
			continue
		}
		for range maxDrops {
			if look(); now >= next {
				break
			}
			if err := v.drop(); err != nil {
				log.Printf("drop cached names: %v", err)
			}
			if look(); now >= next {
				break
			}
			time.Sleep(dropPause)
		}
		tried = next
	}
}

// Start starts to follow the share in the directory auth, until ctx ends. cached says
// whether this guest caches names. seen gets the first generation and each new one.
func Start(ctx context.Context, auth string, cached bool, seen func(generation uint64)) error {
	dir, err := unix.Open(auth, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the share: %w", err)
	}
	every := everyUncached
	if cached {
		every = everyCached
	}
	go watch(ctx, shareView{dir}, every, seen)
	return nil
}

// shareView looks at a share through its directory's descriptor.
type shareView struct{ dir int }

func (v shareView) current() (uint64, error) {
	var buf [64]byte
	n, err := unix.Readlinkat(v.dir, layout.Data, buf[:])
	if err != nil {
		return 0, err
	}
	current, ok := layout.ParseGeneration(string(buf[:n]))
	if !ok {
		return 0, fmt.Errorf("%s leads to %q", layout.Data, buf[:n])
	}
	return current, nil
}

func (v shareView) announced(n uint64) bool {
	var st unix.Stat_t
	return unix.Fstatat(v.dir, layout.Announcement(n), &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

func (v shareView) drop() error { return forget.Names() }
