package monitor

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// clockSteps sends whenever the host's clock was set or the host woke up, both
// of which leave the guest's clock behind. It ends when stop is called.
func clockSteps() (steps <-chan struct{}, stop func(), err error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, nil, err
	}
	timer := os.NewFile(uintptr(fd), "timerfd")
	if err := arm(fd); err != nil {
		timer.Close()
		return nil, nil, err
	}
	c := make(chan struct{}, 1)
	go func() {
		expirations := make([]byte, 8)
		for {
			_, err := timer.Read(expirations)
			if err != nil && !errors.Is(err, unix.ECANCELED) || arm(fd) != nil {
				return
			}
			select {
			case c <- struct{}{}:
			default: // one is waiting already, and will give the newest time
			}
		}
	}()
	return c, func() { timer.Close() }, nil
}

// arm sets the timer to a year that is far away: the only thing that wakes its
// reader is the clock being set.
func arm(fd int) error {
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: 1 << 33}}
	return unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
}
