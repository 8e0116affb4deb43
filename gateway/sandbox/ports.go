package sandbox

import (
	"slices"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox/ports"
	"openshell-vm/gateway/state"
)

// portTaken finds who has a port: a sandbox that runs or should run, other than self.
func (f *Fleet) portTaken(self *Sandbox) ports.Taken {
	return func(p api.Port) (name string) {
		for _, s := range f.All() {
			r := s.Rec()
			wanted := r.Desired == state.WantRunning || s.Snapshot().State == api.StateRunning
			if s != self && wanted && slices.ContainsFunc(r.Request.Ports, p.Clashes) {
				return r.Name
			}
		}
		return ""
	}
}
