package jail

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ownProcess returns a pidfd of this process.
func ownProcess() (*os.File, error) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open: %w", err)
	}
	return os.NewFile(uintptr(fd), "parent"), nil
}

// dieWithParent makes the kernel kill the calling thread's process when the parent's
// thread that started it ends. It fails if the parent has ended already. parent is its
// pidfd, or 0.
//
// SysProcAttr.Pdeathsig is not enough. It belongs to the thread that was forked, and no
// thread inherits it from another. The Go runtime may move the main goroutine to another
// thread, and an exec there loses it. Also, a process in a new process namespace can't
// see by getppid that its parent is gone.
func dieWithParent(parent int) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set the parent-death signal: %w", err)
	}
	if parent == 0 {
		return nil
	}
	ended := []unix.PollFd{{Fd: int32(parent), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(ended, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("look after the parent: %w", err)
		case n > 0:
			return errors.New("what started it has ended")
		default:
			return nil
		}
	}
}
