// Package deadfs mounts, for tests, a file system that answers nothing.
package deadfs

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Mount mounts a FUSE at a directory whose program never answers, so that whoever asks it about
// anything hangs until end is called, or the test ends. Then the directory is as it was. A test
// that may not mount one is skipped.
func Mount(t testing.TB, dir string) (end func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root mounts a FUSE without a helper")
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("/dev/fuse: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("dead", dir, "fuse", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		unix.Close(fd)
		t.Skipf("mount: %v", err)
	}
	end = sync.OnceFunc(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: the test did
			t.Errorf("unmount: %v", err)
		}
		unix.Close(fd) // who hangs gets an error now
	})
	t.Cleanup(end)
	return end
}
