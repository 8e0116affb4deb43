package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// setClock sets the guest's clock to the host's time, in nanoseconds since 1970.
func setClock(unixNano int64) {
	if unixNano <= 0 {
		return
	}
	ts := unix.NsecToTimespec(unixNano)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		logf("set the clock to %v: %v", time.Unix(0, unixNano).UTC(), err)
	}
}

// startTime returns the host's time now, from the time in its answer to a greeting. The
// answer has waited since then, while the root was made: a second or many. The result is ahead
// of the right time by as long as the greeting was under way. A clock that is behind would be
// worse: to it a fresh token is not valid yet. The host corrects either soon.
func startTime(answered int64, since time.Duration) int64 {
	if answered <= 0 {
		return answered
	}
	return answered + int64(max(since, 0))
}

// stepClock moves the guest's clock by so many nanoseconds; a negative step moves it
// back.
func stepClock(nano int64) {
	sec, rest := nano/int64(time.Second), nano%int64(time.Second)
	if rest < 0 { // the kernel takes no negative fraction
		sec, rest = sec-1, rest+int64(time.Second)
	}
	step := unix.Timeval{Sec: sec, Usec: rest} // ADJ_NANO: Usec is nanoseconds
	if _, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO, Time: step}); err != nil {
		logf("step the clock by %v: %v", time.Duration(nano), err)
	}
}
