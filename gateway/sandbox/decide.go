package sandbox

import (
	"openshell-vm/drivers"
	"openshell-vm/gateway/state"
)

// action is one step towards the desired state.
type action string

const (
	keep   action = "keep"
	erase  action = "erase"   // remove it, with its share and its record
	lose   action = "lose"    // note that the engine does not have it any more
	halt   action = "halt"    // stop it
	settle action = "settle"  // it ended by itself: stopped is its desired state now
	resume action = "resume"  // deliver a fresh token and start it
	again  action = "restart" // the same, because its restart policy says so
)

// decide compares the desired state with the engine's report. live means that this gateway
// has seen the sandbox running, and that since then the engine answered every time. So the
// sandbox was not ended by a restart of the engine or the host.
func decide(r *state.Record, status drivers.Status, found, live bool, bootID string) action {
	ended := status.State == drivers.Exited || status.State == drivers.Dead
	// If it ended before the wish to run, that was the end of an earlier run.
	earlier := !status.ExitedAt.IsZero() && status.ExitedAt.Before(r.DesiredAt)
	switch {
	case r.Desired == state.WantGone || !r.Made:
		return erase
	case !found && r.Lost != "":
		return keep
	case !found && r.Request.AutoRemove:
		return erase
	case !found:
		return lose
	case status.State == drivers.Running && r.Desired == state.WantStopped:
		return halt
	case status.State == drivers.Running:
		return keep
	case ended && r.Request.AutoRemove && (r.Desired == state.WantStopped || live || !earlier):
		return erase
	case afterBoot(r, bootID):
		return resume
	case r.Desired != state.WantRunning:
		return keep
	case ended && (live || !earlier && byItself(r, status, bootID)):
		if restarts(r, status) {
			return again
		}
		return settle
	}
	return resume
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
