package sandbox

import (
	"context"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/internal/mounts"
)

// doorsEvery is how often KeepDoors looks.
const doorsEvery = 10 * time.Second

// noDoor is a new sandbox's warning.
const noDoor = "it can't ask the gateway: a mount is in the place of " + drivers.DoorDir

// fitsDoor reports whether a sandbox with these mounts can have a door. A mount around it would
// have to be written to for it, on the host.
func fitsDoor(all []api.Mount) bool {
	for _, m := range all {
		if mounts.Within(m.Target, drivers.DoorDir) || mounts.Within(drivers.DoorDir, m.Target) {
			return false
		}
	}
	return true
}

// openDoor makes the sandbox's door, and listens in it. A sandbox that was made without one has
// none.
func (s *Sandbox) openDoor() error {
	r := s.Rec()
	if !r.Door {
		return nil
	}
	if err := s.fleet.opts.Doors.Make(r.DoorDir()); err != nil {
		return err
	}
	return s.fleet.opts.Doors.Open(s.ID, r.DoorDir())
}

// KeepDoors opens the doors of sandboxes that run, or may run, now and whenever a socket is gone,
// and closes those of the others, until ctx ends. The file system of a door may hang, and then it
// does not return.
func (f *Fleet) KeepDoors(ctx context.Context) {
	ticker := time.NewTicker(doorsEvery)
	defer ticker.Stop()
	for {
		for _, s := range f.All() {
			f.keepDoor(s)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (f *Fleet) keepDoor(s *Sandbox) {
	if !s.Rec().Door {
		return
	}
	switch s.Snapshot().State {
	case api.StateCreated, api.StateExited, api.StateDead:
		f.opts.Doors.Close(s.ID)
	default:
		if err := f.opts.Doors.Open(s.ID, s.Rec().DoorDir()); err != nil {
			f.log.Warn("a sandbox can't reach the gateway", "sandbox", s.ID, "error", explain.Line(err))
		}
	}
}
