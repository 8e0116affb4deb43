package decide

import (
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// TestRestartPolicies: what happens to a sandbox that ended by itself, as docker has it.
func TestRestartPolicies(t *testing.T) {
	const boot = "this boot"
	wanted := time.Now()
	for _, c := range []struct {
		policy   api.RestartPolicy
		restarts int
		boot     string
		desired  string
		state    drivers.State
		code     int
		want     Action
	}{
		{api.RestartPolicy{}, 0, boot, state.WantRunning, drivers.Exited, 1, Settle},
		{api.RestartPolicy{Name: "on-failure"}, 0, boot, state.WantRunning, drivers.Exited, 0, Settle},
		{api.RestartPolicy{Name: "on-failure"}, 99, boot, state.WantRunning, drivers.Exited, 1, Again},
		{api.RestartPolicy{Name: "on-failure"}, 0, boot, state.WantRunning, drivers.Dead, 0, Again},
		{api.RestartPolicy{Name: "on-failure", Max: 2}, 1, boot, state.WantRunning, drivers.Exited, 137, Again},
		{api.RestartPolicy{Name: "on-failure", Max: 2}, 2, boot, state.WantRunning, drivers.Exited, 1, Settle},
		{api.RestartPolicy{Name: "always"}, 7, boot, state.WantRunning, drivers.Exited, 0, Again},
		{api.RestartPolicy{Name: "unless-stopped"}, 7, boot, state.WantRunning, drivers.Dead, 0, Again},
		{api.RestartPolicy{Name: "always"}, 0, boot, state.WantStopped, drivers.Exited, 0, Keep},
		{api.RestartPolicy{Name: "always"}, 0, "the boot before", state.WantStopped, drivers.Exited, 0, Resume},
		{api.RestartPolicy{Name: "unless-stopped"}, 0, "the boot before", state.WantStopped, drivers.Exited, 0, Keep},
		{api.RestartPolicy{Name: "always"}, 0, "", state.WantStopped, drivers.Created, 0, Keep},
	} {
		r := &state.Record{Made: true, Desired: c.desired, DesiredAt: wanted, Request: state.Request{Restart: c.policy},
			Start: state.StartRecord{BootID: c.boot, Restarts: c.restarts}}
		status := drivers.Status{State: c.state, ExitCode: c.code, ExitedAt: wanted.Add(time.Second)}
		if got := Next(r, status, true, true, boot); got != c.want {
			t.Errorf("%+v after %d restarts, %s (%d): %s, wanted %s", c.policy, c.restarts, c.state, c.code, got, c.want)
		}
	}
}

// TestPauses: they double after short runs and begin anew after a long one.
func TestPauses(t *testing.T) {
	now := time.Now()
	var p Pauses
	ran := func(d time.Duration) time.Duration {
		p.Begin(drivers.Status{StartedAt: now, ExitedAt: now.Add(d)}, now)
		p.Begin(drivers.Status{}, now.Add(time.Hour)) // another look: the pause stands
		pause := p.Until.Sub(now)
		p.Until = time.Time{} // it was started
		return pause
	}
	for i, want := range []time.Duration{firstPause, 2 * firstPause, 4 * firstPause} {
		if got := ran(time.Second); got != want {
			t.Errorf("pause %d is %v, wanted %v", i, got, want)
		}
	}
	for range 20 {
		ran(time.Second)
	}
	if got := ran(time.Second); got != longestPause {
		t.Errorf("the longest pause is %v", got)
	}
	if got := ran(longRun); got != firstPause {
		t.Errorf("the pause after a long run is %v", got)
	}
}
