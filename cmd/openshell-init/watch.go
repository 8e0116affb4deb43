package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	sharelayout "openshell-vm/share/layout"
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
	watchCached   = 200 * time.Millisecond // step 1
	watchUncached = time.Second            // step 1, no names cached
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
				logf("drop cached names: %v", err)
			}
			if look(); now >= next {
				break
			}
			time.Sleep(dropPause)
		}
		tried = next
	}
}

// startWatch starts to follow this VM's share and to report to the host. It also starts
// to bound the names that the kernel remembers.
func startWatch(ctx context.Context, where layout, spec guest.BootSpec, h *host) error {
	auth := filepath.Join(where.shares, guest.AuthName)
	dir, err := unix.Open(auth, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the share: %w", err)
	}
	every, count := watchUncached, countRarely
	if where.CachesNames {
		every, count = watchCached, countOften
	}
	go boundNames(ctx, spec.Names, count)
	go watch(ctx, shareView{dir}, every, func(n uint64) {
		h.send(guest.Message{Seen: &guest.Seen{Generation: n, UnixNano: time.Now().UnixNano()}})
	})
	return nil
}

// shareView looks at a share through its directory's descriptor.
type shareView struct{ dir int }

func (v shareView) current() (uint64, error) {
	var buf [64]byte
	n, err := unix.Readlinkat(v.dir, sharelayout.Data, buf[:])
	if err != nil {
		return 0, err
	}
	current, ok := sharelayout.ParseGeneration(string(buf[:n]))
	if !ok {
		return 0, fmt.Errorf("%s leads to %q", sharelayout.Data, buf[:n])
	}
	return current, nil
}

func (v shareView) announced(n uint64) bool {
	var st unix.Stat_t
	return unix.Fstatat(v.dir, sharelayout.Announcement(n), &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

func (v shareView) drop() error { return forgetNames() }
