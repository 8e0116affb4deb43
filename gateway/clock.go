package gateway

import (
	"context"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// watchClock calls stepped when the wall clock was set or the host woke up,
// until ctx ends. Go's timers notice neither: they stop while the host sleeps.
func watchClock(ctx context.Context, stepped func()) error {
	timer, err := clockTimer()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { timer.Close() })
	defer stop()
	var expirations [8]byte
	for {
		// The timer is set beyond any time, so a read ends only in ECANCELED.
		_, err := timer.Read(expirations[:])
		if ctx.Err() != nil {
			return nil
		}
		if err := armClockTimer(timer); err != nil {
			return err
		}
		if err != nil {
			stepped()
		}
	}
}

// clockTimer is a timerfd on the wall clock that the runtime's poller waits for.
func clockTimer() (*os.File, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("timerfd_create: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "timerfd")
	if err := armClockTimer(timer); err != nil {
		timer.Close()
		return nil, err
	}
	return timer, nil
}

func armClockTimer(timer *os.File) error {
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
	if failed != nil {
		return fmt.Errorf("timerfd_settime: %w", failed)
	}
	return nil
}
