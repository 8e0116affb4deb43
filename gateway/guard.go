package gateway

import (
	"openshell-vm/drivers"
	"openshell-vm/gateway/state"
)

// What has to hold at any moment: whatever runs, should run, may run, or is a kept
// share of the user's own stands in the schedule, and nothing else does: a token
// of what is stopped would be a valid credential for nobody. Nothing puts it there or takes it off
// by hand: each change of a sandbox's state goes through set, and set has the
// schedule follow. uphold looks for what was missed all the same.

// renewed says whether the token must be kept fresh: while its sandbox runs,
// should run, or may run because its engine has not been heard of it. What is
// stopped holds the token that it had, until that expires: an engine's word may be
// late, and what runs all the same must not lose it. Its start delivers a fresh one
// first. What is being removed is renewed until it has ended. The caller holds s.mu.
func (s *sandbox) renewed() bool {
	r := s.record
	switch {
	case s.gone || s.removed || !r.Made:
		return false
	case r.Own() || s.status.State == drivers.Running:
		return true
	case r.Lost != "" || s.undelivered:
		return false
	}
	return r.Desired == state.WantRunning || s.status.State == ""
}

// plan has the schedule follow the sandbox's state. What begins to be renewed
// is due when the first source of what it has is. The caller holds s.mu.
func (s *sandbox) plan() {
	switch {
	case s.schedule == nil: // not known yet
	case !s.renewed():
		s.schedule.Remove(s.id)
		if !s.undelivered { // what failed is not tried again
			s.token.Forgive()
		}
		s.tell()
	case !s.schedule.Has(s.id):
		s.schedule.Set(s.id, s.token.Due, s.token.Urgency())
	}
}

// uphold puts a sandbox back that ought to be renewed and is not. It never has
// anything to do, unless the gateway has a fault.
func (g *Gateway) uphold(s *sandbox) {
	s.mu.Lock()
	missed := s.schedule != nil && s.renewed() && !s.schedule.Has(s.id)
	s.mu.Unlock()
	if !missed {
		return
	}
	s.set(func() {})
	g.metrics.repairs.Inc()
	g.log.Error("its token was not going to be renewed; it is now", "sandbox", s.id, "name", s.rec().Name)
}

// release ends an operation on a sandbox.
func (g *Gateway) release(s *sandbox) {
	g.uphold(s)
	s.op.unlock()
}

// tell wakes who waits for news of the token. The caller holds s.mu.
func (s *sandbox) tell() {
	if s.news != nil {
		close(s.news)
		s.news = nil
	}
}
