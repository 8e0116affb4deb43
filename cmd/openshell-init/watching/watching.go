// Package watching follows the shares, so that a guest that caches names sees a renewal in
// well under a second.
package watching

import (
	"context"
	"fmt"
	"log"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/cmd/openshell-init/forget"
	"openshell-vm/share/layout"
)

// How the watch works, for each share; names are dropped for all at once. A guest may cache names of the share for seconds, but never that
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
}

// watched is one share that is followed.
type watched struct {
	view
	now   uint64 // the generation that was seen last
	tried uint64 // the last announcement that all drops were tried for
	seen  func(generation uint64)
}

// look calls seen with a generation that is new.
func (w *watched) look() {
	if n, err := w.current(); err == nil && n != w.now {
		w.now = n
		w.seen(n)
	}
}

// behind reports whether a generation is announced that is not seen, and for which dropping
// names was not tried in vain.
func (w *watched) behind() bool { return w.now+1 != w.tried && w.announced(w.now+1) }

// watch follows shares until ctx ends, looking at all of them every so often. drop makes the
// kernel forget the names of all.
func watch(ctx context.Context, shares []*watched, drop func() error, every time.Duration) {
	looked := time.Time{}
	lookAt := func(some []*watched) {
		for _, w := range some {
			w.look()
		}
	}
	lookAt(shares)
	looked = time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(looked) >= rereadEvery-every/2 {
			lookAt(shares)
			looked = time.Now()
		}
		var late []*watched
		for _, w := range shares {
			if w.behind() {
				late = append(late, w)
			}
		}
		catchUp(late, drop)
	}
}

// catchUp drops names until all of some shares show the generation that is announced, a few times
// at most.
func catchUp(late []*watched, drop func() error) {
	next := make([]uint64, len(late))
	for i, w := range late {
		next[i] = w.now + 1
	}
	all := func() bool {
		seen := true
		for i, w := range late {
			if w.now < next[i] {
				w.look()
			}
			seen = seen && w.now >= next[i]
		}
		return seen
	}
	for range maxDrops {
		if all() {
			break
		}
		if err := drop(); err != nil {
			log.Printf("drop cached names: %v", err)
		}
		if all() {
			break
		}
		time.Sleep(dropPause)
	}
	for i, w := range late {
		w.tried = next[i]
	}
}

// Start starts to follow the shares of these names in the directory shares, until ctx ends. There
// is one goroutine for all. cached says whether this guest caches names. seen gets the first
// generation of each share and each new one; no two calls overlap.
func Start(ctx context.Context, shares string, names []string, cached bool, seen func(name string, generation uint64)) error {
	var all []*watched
	for _, name := range names {
		dir, err := unix.Open(filepath.Join(shares, name), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open the share %s: %w", name, err)
		}
		all = append(all, &watched{view: shareView{dir}, seen: func(n uint64) { seen(name, n) }})
	}
	every := everyUncached
	if cached {
		every = everyCached
	}
	go watch(ctx, all, forget.Names, every)
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
