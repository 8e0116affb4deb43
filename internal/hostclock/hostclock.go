// Package hostclock tells when this host's wall clock steps. Go's timers do not tell: they
// run on the monotonic clock, which stands still while the host sleeps.
//
// The clock steps when somebody or a time server sets it, and at the end of a sleep. A
// clock that is slewed to the right time does not step.
//
// What is not promised: a call for each of two steps at about the same time, or the size of
// a step.
package hostclock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// Watch calls stepped after each step of the clock, in the calling goroutine. When ctx ends
// it returns nil. If it returns an error, it tells no more steps.
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
		if err := arm(timer); err != nil { // before stepped, so that no step in between is lost
			return err
		}
		if err != nil {
			stepped()
		}
	}
}

// newTimer makes a timerfd on the wall clock, for the runtime's poller.
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
	// ECANCELED means a step since the last read. The timer is set all the same.
	if failed != nil && !errors.Is(failed, unix.ECANCELED) {
		return fmt.Errorf("timerfd_settime: %w", failed)
	}
	return nil
}
