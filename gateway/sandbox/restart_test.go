package sandbox

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
		want     action
	}{
		{api.RestartPolicy{}, 0, boot, state.WantRunning, drivers.Exited, 1, settle},
		{api.RestartPolicy{Name: "on-failure"}, 0, boot, state.WantRunning, drivers.Exited, 0, settle},
		{api.RestartPolicy{Name: "on-failure"}, 99, boot, state.WantRunning, drivers.Exited, 1, again},
		{api.RestartPolicy{Name: "on-failure"}, 0, boot, state.WantRunning, drivers.Dead, 0, again},
		{api.RestartPolicy{Name: "on-failure", Max: 2}, 1, boot, state.WantRunning, drivers.Exited, 137, again},
		{api.RestartPolicy{Name: "on-failure", Max: 2}, 2, boot, state.WantRunning, drivers.Exited, 1, settle},
		{api.RestartPolicy{Name: "always"}, 7, boot, state.WantRunning, drivers.Exited, 0, again},
		{api.RestartPolicy{Name: "unless-stopped"}, 7, boot, state.WantRunning, drivers.Dead, 0, again},
		{api.RestartPolicy{Name: "always"}, 0, boot, state.WantStopped, drivers.Exited, 0, keep},
		{api.RestartPolicy{Name: "always"}, 0, "the boot before", state.WantStopped, drivers.Exited, 0, resume},
		{api.RestartPolicy{Name: "unless-stopped"}, 0, "the boot before", state.WantStopped, drivers.Exited, 0, keep},
		{api.RestartPolicy{Name: "always"}, 0, "", state.WantStopped, drivers.Created, 0, keep},
	} {
		r := &state.Record{Made: true, Desired: c.desired, DesiredAt: wanted, Request: state.Request{Restart: c.policy},
			Start: state.StartRecord{BootID: c.boot, Restarts: c.restarts}}
		status := drivers.Status{State: c.state, ExitCode: c.code, ExitedAt: wanted.Add(time.Second)}
		if got := decide(r, status, true, true, boot); got != c.want {
			t.Errorf("%+v after %d restarts, %s (%d): %s, wanted %s", c.policy, c.restarts, c.state, c.code, got, c.want)
		}
	}
}

// TestPauses: they double after short runs and begin anew after a long one.
func TestPauses(t *testing.T) {
	now := time.Now()
	var p pauses
	ran := func(d time.Duration) time.Duration {
		p.begin(drivers.Status{StartedAt: now, ExitedAt: now.Add(d)}, now)
		p.begin(drivers.Status{}, now.Add(time.Hour)) // another look: the pause stands
		pause := p.until.Sub(now)
		p.until = time.Time{} // it was started
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

func TestCheckRestartAndLabels(t *testing.T) {
	for _, q := range []api.CreateRequest{
		{Restart: api.RestartPolicy{Name: "sometimes"}}, {Restart: api.RestartPolicy{Name: "always", Max: 3}},
		{Restart: api.RestartPolicy{Name: "on-failure", Max: -1}}, {Restart: api.RestartPolicy{Name: "always"}, AutoRemove: true},
		{Labels: map[string]string{"": "x"}}, {Labels: map[string]string{"openshell.ai/sandbox-id": "x"}}, {Labels: map[string]string{"a": "b\x1b[2J"}},
		{Labels: map[string]string{"a": string(make([]byte, maxLabels))}},
	} {
		if err := checkRequest(&q); err == nil {
			t.Errorf("taken: %+v", q)
		}
	}
	for _, q := range []api.CreateRequest{
		{Restart: api.RestartPolicy{Name: "no"}, AutoRemove: true}, {Restart: api.RestartPolicy{Name: "on-failure", Max: 3}},
		{Labels: map[string]string{"com.example/team": "a=b"}},
	} {
		if err := checkRequest(&q); err != nil {
			t.Error(err)
		}
	}
}
