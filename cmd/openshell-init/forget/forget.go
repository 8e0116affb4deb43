// Package forget makes the guest's kernel forget names of files.
//
// A file server keeps a descriptor open for each name that the guest's kernel
// remembers, used or not. When it has none left it fails, or worse: some servers then
// list directories short, without an error. The kernel forgets names only when memory
// is short, and knows nothing of the server's limit.
package forget

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"
)

// How often names are counted: often if their server fails silently, and rarely if it
// reports EMFILE, since then the guest's processor may be an emulated, slow one.
const (
	Often  = 20 * time.Millisecond
	Rarely = 200 * time.Millisecond
)

// Bound counts the unused names every so often, and makes the kernel forget them
// when they are more than limit, until ctx ends. A limit of 0 means none.
func Bound(ctx context.Context, limit uint64, every time.Duration) {
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
			err = Names()
		}
		if err != nil {
			log.Printf("bound the names that are remembered: %v", err)
			return
		}
	}
}

// unusedNames counts the unused names of all file systems, so those of the host's
// directories may be fewer.
func unusedNames() (uint64, error) {
	state, err := os.ReadFile("/proc/sys/fs/dentry-state")
	if err != nil {
		return 0, err
	}
	return parseUnused(string(state))
}

// parseUnused returns the second number of the kernel's dentry-state.
func parseUnused(state string) (uint64, error) {
	f := strings.Fields(state)
	if len(f) < 2 {
		return 0, fmt.Errorf("dentry-state reads %q", state)
	}
	return strconv.ParseUint(f[1], 10, 64)
}

// Names makes the kernel drop all unused names and inodes.
func Names() error {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0)
}
