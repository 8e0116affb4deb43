package sandbox

import (
	"context"
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// Restart policies mean what they mean for docker. A restart is a start like any other: a
// fresh token is published before.

const (
	// firstPause and longestPause bound the pause before a restart. It doubles with each
	// restart after a short run. The numbers are docker's.
	firstPause   = 100 * time.Millisecond
	longestPause = time.Minute
	// longRun is how long a workload must have run for the pauses to begin anew.
	longRun = 10 * time.Second
)

// restarts reports whether the policy of a sandbox that ended wants another start.
func restarts(r *state.Record, status drivers.Status) bool {
	policy := r.Request.Restart
	switch policy.Name {
	case api.RestartAlways, api.RestartUnlessStopped:
		return true
	case api.RestartOnFailure:
		failed := status.State == drivers.Dead || status.ExitCode != 0
		return failed && (policy.Max == 0 || r.Start.Restarts < policy.Max)
	}
	return false
}

// afterBoot reports whether a sandbox that its user stopped is started again because the host
// has booted since: that is what always means beyond unless-stopped.
func afterBoot(r *state.Record, bootID string) bool {
	return r.Desired == state.WantStopped && r.Request.Restart.Name == api.RestartAlways &&
		r.Start.BootID != "" && r.Start.BootID != bootID
}

// pauses are those before a sandbox's restarts. The zero value is ready for use. The item's
// Mu guards it.
type pauses struct {
	short int       // restarts in a row after short runs
	until time.Time // the end of the pause under way; zero if there is none
}

// begin begins a pause after a run, unless one is under way. It reports whether it did.
func (p *pauses) begin(status drivers.Status, now time.Time) bool {
	if !p.until.IsZero() {
		return false
	}
	if !status.StartedAt.IsZero() && status.ExitedAt.Sub(status.StartedAt) >= longRun {
		p.short = 0
	}
	p.until = now.Add(min(firstPause<<min(p.short, 10), longestPause))
	p.short++
	return true
}

// line tells users of the pause.
func (p *pauses) line(now time.Time) string {
	left := p.until.Sub(now)
	if left <= 0 {
		return "it is started again"
	}
	return fmt.Sprintf("it is started again in %v", max(left.Round(time.Second), time.Second))
}

// wakeAt looks at the sandbox when its pause ends: the next look may be two seconds away.
func (s *Sandbox) wakeAt(end time.Time) {
	time.AfterFunc(time.Until(end), func() {
		s.fleet.work.begin(func() { s.LookAt(context.Background()) })
	})
}

// restart starts a sandbox that ended, and counts that.
func (s *Sandbox) restart(ctx context.Context) error {
	return s.resumeCounted(ctx, s.Rec().Start.Restarts+1)
}

// checkRestart refuses policies that there are not, and those that contradict --rm.
func checkRestart(q *api.CreateRequest) error {
	invalid := func(message, hint string) error {
		return &api.Error{Code: api.CodeInvalid, Message: message, Hint: hint}
	}
	switch q.Restart.Name {
	case "", api.RestartNo:
		q.Restart = api.RestartPolicy{}
		return nil
	case api.RestartOnFailure, api.RestartAlways, api.RestartUnlessStopped:
	default:
		return invalid(fmt.Sprintf("there is no restart policy %q", q.Restart.Name), "use --restart no, on-failure[:N], always or unless-stopped")
	}
	switch {
	case q.Restart.Max < 0, q.Restart.Max > 0 && q.Restart.Name != api.RestartOnFailure:
		return invalid(fmt.Sprintf("the restart policy %s takes no number %d", q.Restart.Name, q.Restart.Max),
			"a number of tries is for --restart on-failure:N")
	case q.AutoRemove:
		return invalid("it can't be removed at its end and be restarted", "leave out --rm or --restart")
	}
	return nil
}
