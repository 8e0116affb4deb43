package monitor

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor/programs"
	"openshell-vm/internal/stream"
)

// emulated is a guest with its own clock, on a slow host.
type emulated struct {
	off    time.Duration                    // of its clock
	drift  float64                          // seconds a second
	delays func(n int) (a, b time.Duration) // of the n-th question and its answer
	deaf   bool                             // does what an init does that knows no questions

	since  time.Time
	number int
	steps  []time.Duration
}

// now returns the guest clock's time.
func (e *emulated) now() time.Time {
	lost := time.Duration(float64(time.Since(e.since)) * e.drift)
	return time.Now().Add(e.off + lost)
}

// run answers until the port is closed.
func (e *emulated) run(in io.Reader, clock chan<- guest.Message) {
	for frames := stream.NewReader(in); ; {
		var m guest.Message
		if err := stream.ReadJSON(frames, &m); err != nil {
			return
		}
		switch {
		case m.SetClock != nil:
			e.off, e.since = time.Until(time.Unix(0, m.SetClock.UnixNano)), time.Now()
		case m.StepClock != nil:
			e.off += time.Duration(m.StepClock.Nano)
			e.steps = append(e.steps, time.Duration(m.StepClock.Nano))
		case m.AskClock != nil && !e.deaf:
			before, after := e.delays(e.number)
			e.number++
			time.Sleep(before)
			answer := guest.Message{Clock: &guest.Clock{Number: m.AskClock.Number, UnixNano: e.now().UnixNano()}}
			time.Sleep(after)
			clock <- answer
		}
	}
}

// keep lets a monitor keep e's clock for a while. It returns since when nothing was answered at the end.
func keep(e *emulated, d time.Duration) (unanswered time.Time) {
	r, w := net.Pipe()
	m := &monitor{log: slog.New(slog.DiscardHandler), group: programs.New()}
	m.control = newControl(m.log, w)
	e.since = time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.run(r, m.control.messages)
	}()
	clock, end := newGuestClock(), time.After(d)
	for over := false; !over; {
		select {
		case msg := <-m.control.messages:
			clock.answer(m, *msg.Clock)
		case <-clock.due.C:
			clock.tick(m)
		case <-end:
			over = true
		}
	}
	m.control.conn.Close()
	<-ended
	return m.status.Unanswered
}

func prompt(int) (a, b time.Duration) { return 2 * time.Millisecond, time.Millisecond }

func TestTheGuestsClockIsKept(t *testing.T) {
	uneven := func(n int) (a, b time.Duration) { // a host at its limit
		return time.Duration(n*7919%1900) * time.Millisecond, time.Duration(n*104729%1700) * time.Millisecond
	}
	stalled := func(n int) (a, b time.Duration) {
		if n == 0 {
			return time.Minute, 0
		}
		return prompt(n)
	}
	for _, test := range []struct {
		name   string
		guest  emulated
		within time.Duration // of the right time
		steps  [2]int        // at least, at most
	}{
		{"right", emulated{delays: prompt}, 0, [2]int{0, 0}},
		{"43 s behind", emulated{off: -43 * time.Second, delays: prompt}, clockFault, [2]int{1, 1}},
		{"ahead", emulated{off: time.Hour, delays: prompt}, clockFault, [2]int{1, 1}},
		{"off by less than matters", emulated{off: -90 * time.Millisecond, delays: prompt}, clockFault, [2]int{0, 0}},
		{"slow by 1 ms a second", emulated{drift: -0.001, delays: prompt}, 2 * clockFault, [2]int{5, 7}},
		{"fast by 1 ms a second", emulated{drift: 0.001, delays: prompt}, 2 * clockFault, [2]int{5, 7}},
		{"right on a loaded host", emulated{delays: uneven}, 0, [2]int{0, 0}},
		{"behind on a loaded host", emulated{off: -43 * time.Second, delays: uneven}, 2 * time.Second, [2]int{1, 20}},
		{"a stall during a question", emulated{off: -43 * time.Second, delays: stalled}, clockFault, [2]int{1, 1}},
		{"an older init", emulated{off: -43 * time.Second, delays: prompt, deaf: true}, time.Minute, [2]int{0, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := test.guest
				begin := time.Now()
				silent := keep(&e, 10*time.Minute)
				if e.deaf && !silent.Equal(begin) || !e.deaf && !silent.IsZero() {
					t.Errorf("it has answered nothing since %v; it began at %v", silent, begin)
				}
				if off := time.Until(e.now()); off.Abs() > test.within {
					t.Errorf("the clock is off by %v; steps %v", off, e.steps)
				}
				if n := len(e.steps); n < test.steps[0] || n > test.steps[1] {
					t.Errorf("%d steps: %v", n, e.steps)
				}
			})
		})
	}
}

// TestAStepNeverGoesPastTheRightTime tries each order of question, clock reading and
// answer.
func TestAStepNeverGoesPastTheRightTime(t *testing.T) {
	asked := time.Unix(1_000_000, 0)
	for _, off := range []time.Duration{-time.Hour, -43 * time.Second, -time.Second, 0, time.Second, time.Hour} {
		for before := time.Duration(0); before < 3*time.Second; before += 300 * time.Millisecond {
			for after := time.Duration(0); after < 3*time.Second; after += 300 * time.Millisecond {
				step := clockStep(asked, asked.Add(before+after), asked.Add(before+off))
				if left := off + step; step != 0 && ((left < 0) != (off < 0) && left != 0 || left.Abs() >= off.Abs()) {
					t.Errorf("%v off, read %v after the question and %v before now: a step of %v", off, before, after, step)
				}
			}
		}
	}
	for _, read := range []int64{-1 << 63, 1<<63 - 1} { // a guest's answer is no time for sure
		clockStep(asked, asked, time.Unix(0, read))
	}
}
