package vm

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/internal/procfs"
)

// openMonitor returns a descriptor of the living monitor's process, which becomes readable
// when the process ends; nil if there is no monitor.
func openMonitor(ctx context.Context, dir string) (*os.File, error) {
	for monitor.Alive(dir) {
		if pid, err := monitor.PID(dir); err == nil {
			fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
			if err == nil && isMonitor(pid, dir) {
				return os.NewFile(uintptr(fd), "monitor"), nil
			} else if err == nil {
				unix.Close(fd)
			}
		}
		// It has the lock, but it has not written its pid yet, or it is just dying.
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, nil
}

// isMonitor reports whether the process is the sandbox's monitor, and not another one that
// got the same pid. The caller has opened the process before.
func isMonitor(pid int, dir string) bool {
	args, err := procfs.Args(pid)
	return err == nil && len(args) > 2 && slices.Equal(args[len(args)-2:], []string{"monitor", dir})
}

// waitGone waits until the sandbox in dir has no monitor. A monitor that has given up its
// lock, and only stays for a client that reads the rest, does not count.
func waitGone(ctx context.Context, dir string) error {
	for {
		looked, cancel := context.WithTimeout(ctx, aliveEvery)
		err := waitEnded(looked, dir)
		cancel()
		if err == nil || ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

// aliveEvery is how often waitGone looks at a monitor's lock.
const aliveEvery = 200 * time.Millisecond

// waitEnded waits until the process of the monitor in dir has ended, if there is one.
func waitEnded(ctx context.Context, dir string) error {
	process, err := openMonitor(ctx, dir)
	if err != nil || process == nil {
		return err
	}
	defer process.Close()
	stop := context.AfterFunc(ctx, func() { process.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := process.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Read(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
	return errors.Join(ctx.Err(), err)
}

// killMonitor kills the monitor in dir, and with it all that it started.
func killMonitor(ctx context.Context, dir string) error {
	process, err := openMonitor(ctx, dir)
	if err != nil || process == nil {
		return err
	}
	defer process.Close()
	err = unix.PidfdSendSignal(int(process.Fd()), unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return waitGone(ctx, dir)
}
