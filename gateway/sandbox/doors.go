package sandbox

import (
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/state"
)

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

// KeepDoors opens the doors of sandboxes that should run, also those whose socket is gone, and
// closes the others.
func (f *Fleet) KeepDoors() {
	for _, s := range f.All() {
		switch r := s.Rec(); {
		case !r.Door:
		case r.Desired != state.WantRunning:
			f.opts.Doors.Close(s.ID)
		default:
			if err := s.openDoor(); err != nil {
				f.log.Warn("a sandbox can't reach the gateway", "sandbox", s.ID, "error", explain.Line(err))
			}
		}
	}
}
