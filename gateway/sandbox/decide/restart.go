package decide

import (
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

// Restarts reports whether the policy of a sandbox that ended wants another start.
func Restarts(r *state.Record, status drivers.Status) bool {
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

// Pauses are those before a sandbox's restarts. The zero value is ready for use. It is not
// safe for concurrent use.
type Pauses struct {
	short int       // restarts in a row after short runs
	Until time.Time // the end of the pause under way; zero if there is none
}

// Begin begins a pause after a run, unless one is under way. It reports whether it did.
func (p *Pauses) Begin(status drivers.Status, now time.Time) bool {
	if !p.Until.IsZero() {
		return false
	}
	if !status.StartedAt.IsZero() && status.ExitedAt.Sub(status.StartedAt) >= longRun {
		p.short = 0
	}
	p.Until = now.Add(min(firstPause<<min(p.short, 10), longestPause))
	p.short++
	return true
}

// Line tells users of the pause.
func (p *Pauses) Line(now time.Time) string {
	left := p.Until.Sub(now)
	if left <= 0 {
		return "it is started again"
	}
	return fmt.Sprintf("it is started again in %v", max(left.Round(time.Second), time.Second))
}
