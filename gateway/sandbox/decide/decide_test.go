package decide

import (
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/state"
)

func TestDecide(t *testing.T) {
	const boot = "this boot"
	wanted := time.Now()
	record := func(desired string, change ...func(*state.Record)) *state.Record {
		r := &state.Record{Made: true, Desired: desired, DesiredAt: wanted, Start: state.StartRecord{BootID: boot}}
		for _, c := range change {
			c(r)
		}
		return r
	}
	rm := func(r *state.Record) { r.Request.AutoRemove = true }
	unmade := func(r *state.Record) { r.Made = false }
	lost := func(r *state.Record) { r.Lost = "gone" }
	rebooted := func(r *state.Record) { r.Start.BootID = "the boot before" }

	running := drivers.Status{State: drivers.Running}
	created := drivers.Status{State: drivers.Created}
	dead := drivers.Status{State: drivers.Dead}
	exited := func(code int) drivers.Status {
		return drivers.Status{State: drivers.Exited, ExitCode: code, ExitedAt: wanted.Add(time.Second)}
	}
	earlier := drivers.Status{State: drivers.Exited, ExitedAt: wanted.Add(-time.Second)}

	for _, c := range []struct {
		what   string
		record *state.Record
		status drivers.Status
		found  bool
		live   bool
		want   Action
	}{
		{"removal under way", record(state.WantGone), running, true, true, Erase},
		{"removal under way, engine done", record(state.WantGone), drivers.Status{}, false, false, Erase},
		{"creation cut off", record(state.WantStopped, unmade), created, true, false, Erase},
		{"removed behind our back", record(state.WantRunning), drivers.Status{}, false, true, Lose},
		{"removed behind our back, said already", record(state.WantStopped, lost), drivers.Status{}, false, true, Keep},
		{"removed behind our back, --rm", record(state.WantRunning, rm), drivers.Status{}, false, true, Erase},

		{"as it should be", record(state.WantRunning), running, true, true, Keep},
		{"picked up", record(state.WantRunning), running, true, false, Keep},
		{"stop cut off", record(state.WantStopped), running, true, false, Halt},
		{"stopped", record(state.WantStopped), exited(143), true, false, Keep},
		{"never started", record(state.WantStopped), created, true, false, Keep},
		{"never started, --rm", record(state.WantStopped, rm), created, true, false, Keep},
		{"stopped, --rm", record(state.WantStopped, rm), exited(143), true, false, Erase},

		{"ended before our eyes", record(state.WantRunning), exited(0), true, true, Settle},
		{"killed before our eyes", record(state.WantRunning), exited(137), true, true, Settle},
		{"hypervisor died before our eyes", record(state.WantRunning), dead, true, true, Settle},
		{"ended before our eyes, --rm", record(state.WantRunning, rm), exited(3), true, true, Erase},

		{"start cut off", record(state.WantRunning), created, true, false, Resume},
		{"second start cut off", record(state.WantRunning), earlier, true, false, Resume},
		{"second start cut off, --rm", record(state.WantRunning, rm), earlier, true, false, Resume},
		{"ended by itself unseen", record(state.WantRunning), exited(0), true, false, Settle},
		{"failed by itself unseen", record(state.WantRunning), exited(7), true, false, Settle},
		{"terminated unseen", record(state.WantRunning), exited(143), true, false, Resume},
		{"killed unseen", record(state.WantRunning), exited(137), true, false, Resume},
		{"lost its hypervisor unseen", record(state.WantRunning), dead, true, false, Resume},
		{"ended by a reboot", record(state.WantRunning, rebooted), exited(0), true, false, Resume},
		{"ended unseen, --rm", record(state.WantRunning, rm), exited(143), true, false, Erase},
	} {
		if got := Next(c.record, c.status, c.found, c.live, boot); got != c.want {
			t.Errorf("%s: %s, wanted %s", c.what, got, c.want)
		}
	}
}
