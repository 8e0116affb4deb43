package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// A file server has a descriptor open for each name that the guest's kernel
// remembers, whether anybody uses it or not. Out of descriptors it fails, or
// worse: some list directories short. The kernel
// forgets only when its memory is short, which the server's limit knows nothing
// of.

// How often names are counted: often where their server fails silently, and rarely
// where it says EMFILE, since there the guest's processor may be emulated.
const (
	countOften  = 20 * time.Millisecond
	countRarely = 200 * time.Millisecond
)

// boundNames makes the kernel forget the names that nobody uses whenever there
// are more of them than limit, until ctx ends. 0 is no limit.
func boundNames(ctx context.Context, limit uint64, every time.Duration) {
	if limit == 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		unused, err := unusedNames()
		if err == nil && unused > limit {
			err = forgetNames()
		}
		if err != nil {
			logf("bound the names that are remembered: %v", err)
			return
		}
	}
}

// unusedNames counts those of all file systems. The host's may be fewer.
func unusedNames() (uint64, error) {
	state, err := os.ReadFile("/proc/sys/fs/dentry-state")
	if err != nil {
		return 0, err
	}
	return parseUnused(string(state))
}

// parseUnused takes the second number of the kernel's dentry-state.
func parseUnused(state string) (uint64, error) {
	f := strings.Fields(state)
	if len(f) < 2 {
		return 0, fmt.Errorf("dentry-state reads %q", state)
	}
	return strconv.ParseUint(f[1], 10, 64)
}

// forgetNames makes the kernel drop the names and inodes that it remembers and
// nobody uses.
func forgetNames() error {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0)
}
