package sandbox

import (
	"openshell-vm/drivers"
	"openshell-vm/gateway/state"
)

// action is one step towards the desired state.
type action string

const (
	keep   action = "keep"
	erase  action = "erase"  // with share and record
	lose   action = "lose"   // note that the engine has it no more
	halt   action = "halt"   // stop it
	settle action = "settle" // it ended by itself: that is its desired state now
	resume action = "resume" // fresh token, start
)

// decide compares what should be with what is. live means that the sandbox was
// seen running by this gateway, without a gap in which the engine or the
// host may have ended it.
func decide(r *state.Record, status drivers.Status, found, live bool, bootID string) action {
	ended := status.State == drivers.Exited || status.State == drivers.Dead
	// What ended before it was wanted to run is the end of an earlier run.
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
	case r.Desired != state.WantRunning:
		return keep
	case ended && (live || !earlier && byItself(r, status, bootID)):
		return settle
	}
	return resume
}

// byItself judges an end that nobody saw: a workload that ended with a code of
// its own is done; one that was killed by what a shutdown of the engine or
// the host sends is not, nor is one from before the host's last boot.
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
