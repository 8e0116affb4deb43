package sandbox

import (
	"strconv"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/sandbox/decide"
	"openshell-vm/gateway/state"
)

// run is what this gateway knows of a sandbox's run. The callers of its methods hold the
// item's Mu.
type run struct {
	tell func(event string, details ...string) // Item.TellLocked

	status  drivers.Status // the engine's last report; State is "" before the first one
	up      bool           // seen running, or started, and the engine answered every time since
	doing   api.State      // starting or stopping, while that is under way
	startAt string         // progress of a start that takes long; one line
	// undelivered means that a start is under way and has not published yet. Its publish
	// begins the renewals.
	undelivered bool
	retry       schedule.Backoff // the pauses between the reconciler's attempts
	pauses      decide.Pauses    // those before the restarts of the restart policy
	ran         bool             // its end has not been told yet
	killed      bool             // its user sent a signal that ends it: the restart policy does not bring it back
	touched     time.Time        // when an operation changed it last: reports from before are outdated
	clients     int              // streams that are connected: --rm waits for them
}

// became takes over the engine's report. The end of a run is told once.
func (k *run) became(status drivers.Status) {
	k.status = status
	switch ended := status.State == drivers.Exited || status.State == drivers.Dead; {
	case status.State == drivers.Running:
		k.ran = true
	case ended && k.ran:
		k.ran = false
		code := ""
		if status.State == drivers.Exited {
			code = strconv.Itoa(status.ExitCode)
		}
		k.tell(api.EventEnded, "exitCode", code, "reason", status.Reason)
	}
}

// take takes over a status. If the engine does not have the sandbox any more, the last
// status is kept if it tells how the sandbox ended.
func (k *run) take(status drivers.Status, found bool, r *state.Record) {
	switch {
	case found:
		k.became(status)
	case k.status.State == drivers.Exited || k.status.State == drivers.Dead:
		k.status.SeenGeneration = 0
	default:
		k.became(drivers.Status{ID: r.ID, State: drivers.Dead, Reason: lostReason(r)})
	}
}

// removed notes that the engine does not have the sandbox any more.
func (k *run) removed() {
	k.up, k.touched = false, time.Now()
	if k.status.State == drivers.Running {
		ended := k.status
		ended.State, ended.ExitCode, ended.ExitedAt = drivers.Exited, 128+9, k.touched
		ended.Reason = "it was removed while it ran"
		k.became(ended)
	}
}
