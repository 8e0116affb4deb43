package monitor

import (
	"time"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor/api"
)

// How the guest's clock is kept right. A guest that was stalled, or whose clock source
// is slow, stays behind: to it, fresh tokens are not valid yet.
//
//  1. Ask for the guest's clock every clockEvery, one question at a time.
//  2. A right clock reads a time between the question and its answer. A clock that
//     reads a time outside of that is wrong by at least the distance, however long a
//     busy host took to answer.
//  3. Step the clock by that distance, if it is more than clockFault. The step is never
//     larger than the error, so it never goes past the right time.
//  4. Ask again soon after a step, and after an answer that took longer than clockSharp:
//     that one says little.
const (
	clockEvery   = 5 * time.Second        // 1
	clockLost    = time.Minute            // after that an unanswered question is asked anew
	clockFault   = 100 * time.Millisecond // 3
	clockSharp   = time.Second            // 4
	clockAgain   = 500 * time.Millisecond // 4: soon
	clockTelling = time.Minute            // at least, between two lines in the log: a guest may set its own clock
)

// guestClock keeps a guest's clock right. Only watch uses it.
type guestClock struct {
	due    *time.Timer // when to ask
	number uint64      // of the last question
	asked  time.Time
	open   bool      // the last question has no answer yet
	since  time.Time // the first question that has none
	told   time.Time
}

func newGuestClock() *guestClock { return &guestClock{due: time.NewTimer(0)} } // the init's first setting is an estimate

// tick asks, unless a question is open.
func (c *guestClock) tick(m *monitor) {
	c.due.Reset(clockEvery)
	if c.open && time.Since(c.since) >= clockEvery {
		m.update(func(r *api.Report) { r.Unanswered = c.since })
	}
	if !c.open || time.Since(c.asked) > clockLost {
		c.ask(m)
	}
}

func (c *guestClock) ask(m *monitor) {
	c.number++
	c.asked = time.Now()
	if !c.open {
		c.open, c.since = true, c.asked
	}
	m.control.send(guest.Message{AskClock: &guest.AskClock{Number: c.number}})
}

// set gives the guest the host's time, after somebody set the host's clock.
func (c *guestClock) set(m *monitor) {
	m.control.send(guest.Message{SetClock: &guest.SetClock{UnixNano: time.Now().UnixNano()}})
	c.ask(m) // an earlier question's answer would be compared with the old time
}

// look asks at once if the time in one of the guest's reports is off. A report may have
// waited, so its time alone proves nothing.
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
	m.update(func(r *api.Report) { r.Unanswered = time.Time{} })
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

// clockStep returns by how much a clock that was read between asked and now is wrong
// at least; 0 if that is no more than clockFault.
func clockStep(asked, now, read time.Time) time.Duration {
	if behind := asked.Sub(read); behind > clockFault {
		return behind
	}
	if ahead := read.Sub(now); ahead > clockFault {
		return -ahead
	}
	return 0
}
