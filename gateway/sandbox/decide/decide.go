// Package decide says what is to be done with a sandbox now. It holds pure functions of the
// record and the engine's report; package sandbox does what they say.
package decide

import (
	"openshell-vm/drivers"
	"openshell-vm/gateway/state"
)

// Action is one step towards the desired state.
type Action string

const (
	Keep   Action = "keep"
	Erase  Action = "erase"   // remove it, with its share and its record
	Lose   Action = "lose"    // note that the engine does not have it any more
	Halt   Action = "halt"    // stop it
	Settle Action = "settle"  // it ended by itself: stopped is its desired state now
	Resume Action = "resume"  // deliver a fresh token and start it
	Again  Action = "restart" // the same, because its restart policy says so
)

// Next compares the desired state with the engine's report. live means that this gateway
// has seen the sandbox running, and that since then the engine answered every time. So the
// sandbox was not ended by a restart of the engine or the host.
func Next(r *state.Record, status drivers.Status, found, live bool, bootID string) Action {
	ended := status.State == drivers.Exited || status.State == drivers.Dead
	// If it ended before the wish to run, that was the end of an earlier run.
	earlier := !status.ExitedAt.IsZero() && status.ExitedAt.Before(r.DesiredAt)
	switch {
	case r.Desired == state.WantGone || !r.Made:
		return Erase
	case !found && r.Lost != "":
		return Keep
	case !found && r.Request.AutoRemove:
		return Erase
	case !found:
		return Lose
	case status.State == drivers.Running && r.Desired == state.WantStopped:
		return Halt
	case status.State == drivers.Running:
		return Keep
	case ended && r.Request.AutoRemove && (r.Desired == state.WantStopped || live || !earlier):
		return Erase
	case afterBoot(r, bootID):
		return Resume
	case r.Desired != state.WantRunning:
		return Keep
	case ended && (live || !earlier && byItself(r, status, bootID)):
		if Restarts(r, status) {
			return Again
		}
		return Settle
	}
	return Resume
}

// byItself judges an end that no gateway saw. It reports whether the workload ended by
// itself, with an exit code of its own. That is not so if a signal killed it that a shutdown
// of the engine or the host sends, or if it was started before the host's last boot.
func byItself(r *state.Record, status drivers.Status, bootID string) bool {
	if status.State != drivers.Exited || r.Start.BootID != bootID {
		return false
	}
	switch status.ExitCode {
	case 128 + 1, 128 + 2, 128 + 9, 128 + 15: // HUP, INT, KILL, TERM
		return false
	}
	return true
}
