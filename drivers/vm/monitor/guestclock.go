package monitor

import (
	"time"

	"openshell-vm/drivers/vm/guest"
)

// How the guest's clock is kept. A guest that was stalled, or whose clock
// source is slow, is behind for good, and its tokens are not valid yet.
//
//  1. ask for the guest's clock now and then, one question at a time
//  2. a right clock reads a time between the question and its answer; how far
//     the answer lies outside of that is how wrong the clock is at the least,
//     however long a busy host took
//  3. step the clock by that much, if it is more than is tolerated: a step of
//     less than the fault never goes past the right time
//  4. ask again soon after a step, and after an answer that took too long to
//     say much
const (
	clockEvery   = 5 * time.Second        // 1
	clockLost    = time.Minute            // a question that was not answered by then is asked anew
	clockFault   = 100 * time.Millisecond // 3
	clockSharp   = time.Second            // 4
	clockAgain   = 500 * time.Millisecond
	clockTelling = time.Minute // between two lines in the log: a guest may set its own clock
)

// guestClock keeps a guest's clock. It is the watch's alone.
type guestClock struct {
	due    *time.Timer // when to ask
	number uint64      // of the last question
	asked  time.Time
	open   bool // an answer is due
	told   time.Time
}

func newGuestClock() *guestClock { return &guestClock{due: time.NewTimer(clockEvery)} }

// tick asks, unless an answer is due still.
func (c *guestClock) tick(m *monitor) {
	c.due.Reset(clockEvery)
	if !c.open || time.Since(c.asked) > clockLost {
		c.ask(m)
	}
}

func (c *guestClock) ask(m *monitor) {
	c.number++
	c.asked, c.open = time.Now(), true
	m.control.send(guest.Message{AskClock: &guest.AskClock{Number: c.number}})
}

// set takes over the host's clock after that was set.
func (c *guestClock) set(m *monitor) {
	m.control.send(guest.Message{SetClock: &guest.SetClock{UnixNano: time.Now().UnixNano()}})
	c.ask(m) // an earlier question's answer would be compared with the old time
}

// look asks soon if a report's time, which may be old, leaves doubt.
func (c *guestClock) look(unixNano int64) {
	off := time.Until(time.Unix(0, unixNano))
	if off.Abs() > clockFault && time.Since(c.asked) > clockAgain {
		c.due.Reset(0)
	}
}

// answer steps a clock that is wrong.
func (c *guestClock) answer(m *monitor, got guest.Clock) {
	if got.Number != c.number || !c.open {
		return
	}
	now := time.Now()
	c.open = false
	step := clockStep(c.asked, now, time.Unix(0, got.UnixNano))
	if step != 0 {
		if now.Sub(c.told) > clockTelling {
			c.told = now
			m.log.Info("the guest's clock was wrong and is stepped", "by", step)
		}
		m.control.send(guest.Message{StepClock: &guest.StepClock{Nano: int64(step)}})
	}
	if step != 0 || now.Sub(c.asked) > clockSharp {
		c.due.Reset(clockAgain)
	}
}

// clockStep is how much is sure to be wrong with a clock that was read between
// asked and now; 0 if that is no more than is tolerated.
func clockStep(asked, now, read time.Time) time.Duration {
	if behind := asked.Sub(read); behind > clockFault {
		return behind
	}
	if ahead := read.Sub(now); ahead > clockFault {
		return -ahead
	}
	return 0
}
