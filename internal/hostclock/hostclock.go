// Package hostclock tells when this host's wall clock steps. Go's timers do not: they
// run on the monotonic clock, which stands still while a host sleeps.
//
// A step is a clock that was set, by hand or by a time server that found it far off,
// and the end of a sleep. A clock that is slewed to the right time does not step.
//
// What is not promised: that two steps at about the same time are told one by one. How
// large a step was is not told.
package hostclock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// Watch calls stepped, from its own goroutine, after each step of the clock until ctx
// ends; then its error is nil. Any other end is an error, and no step is told any more.
func Watch(ctx context.Context, stepped func()) error {
	timer, err := newTimer()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { timer.Close() })
	defer func() { stop(); timer.Close() }()
	var expirations [8]byte
	for {
		// The timer is set beyond any time, so a read ends only in ECANCELED.
		_, err := timer.Read(expirations[:])
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, unix.ECANCELED) {
			return err
		}
		if err := arm(timer); err != nil { // first: stepped sees a step that comes now, too
			return err
		}
		if err != nil {
			stepped()
		}
	}
}

// newTimer is a timerfd on the wall clock that the runtime's poller waits for.
func newTimer() (*os.File, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("timerfd_create: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "timerfd")
	if err := arm(timer); err != nil {
		timer.Close()
		return nil, err
	}
	return timer, nil
}

// arm sets the timer to a time that never comes: only a step wakes its reader.
func arm(timer *os.File) error {
	raw, err := timer.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		never := unix.ItimerSpec{Value: unix.Timespec{Sec: math.MaxInt64}}
		failed = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
	})
	if err != nil {
		return err
	}
	if failed != nil && !errors.Is(failed, unix.ECANCELED) { // a step since the last read: the timer is set all the same
		return fmt.Errorf("timerfd_settime: %w", failed)
	}
	return nil
}
