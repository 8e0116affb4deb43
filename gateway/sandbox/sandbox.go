package sandbox

import (
	"cmp"
	"errors"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
)

// Sandbox is a lease plus an engine: its item, and the engine's last report.
type Sandbox struct {
	*roster.Item

	fleet  *Fleet
	engine *engine

	run // guarded by the item's Mu; Set changes it
}

// Kind, and the methods up to AfterRestart, implement roster.Owner.
func (s *Sandbox) Kind() string { return api.KindSandbox }

// Phase is Renewed while the sandbox runs, should run, or may run because its engine has
// not reported on it yet. A running sandbox that is being removed is still renewed. A
// stopped one keeps its last token until that expires: the engine's report may be late, and
// if the sandbox does run it still needs the token. Its next start delivers a fresh one.
func (s *Sandbox) Phase(r *state.Record) lease.Phase {
	wanted := r.Lost == "" && (r.Desired == state.WantRunning || s.status.State == "")
	switch {
	case r.Made && s.status.State == drivers.Running:
		return lease.Renewed
	case s.undelivered:
		return lease.Pending
	case r.Made && wanted:
		return lease.Renewed
	}
	return lease.Idle
}

// Driver returns the driver of its engine.
func (s *Sandbox) Driver() drivers.Driver { return s.engine.driver }

// WasKilled notes that its user sent a signal that ends it: the restart policy does not bring
// it back.
func (s *Sandbox) WasKilled() { s.Set(func() { s.killed = true }) }

// Doing returns the operation under way, or else the state.
func (s *Sandbox) Doing() string { return string(s.Snapshot().State) }

// Mounted returns an error if a running sandbox has another directory mounted than the
// share's current one. A token that is published there does not reach the sandbox.
func (s *Sandbox) Mounted() error {
	s.Mu.Lock()
	running, mounted := s.status.State == drivers.Running, s.RecLocked().Start.Share
	s.Mu.Unlock()
	if !running || mounted == (state.Inode{}) {
		return nil
	}
	dir := s.Lease.Share().AuthDir()
	now, err := state.InodeOf(dir)
	if err == nil && now != mounted {
		err = errors.New("it is not the directory any more that the sandbox has mounted")
	}
	if err != nil {
		return &drivers.Error{Op: "deliver into " + dir, Err: err, Hint: "stop and start the sandbox: it mounts the directory anew"}
	}
	return nil
}

// Restore returns nil: the next start makes the share anew.
func (s *Sandbox) Restore() (release func()) { return nil }

// Delivered ends the phase Pending of a start.
func (s *Sandbox) Delivered() { s.Set(func() { s.undelivered = false }) }

// engineWord is how long the renewal of a stopped sandbox waits after a restart. By then the
// engine has usually reported that it is stopped. If it has not, the sandbox may run.
const engineWord = 4 * firstLook

// AfterRestart returns engineWord for a sandbox that should be stopped, else 0.
func (s *Sandbox) AfterRestart() time.Duration {
	if s.Rec().Desired == state.WantStopped {
		return engineWord
	}
	return 0
}

// observe takes over the engine's report and returns true. asked is when the engine was
// asked. If an operation changed the sandbox since then, observe returns false.
func (s *Sandbox) observe(status drivers.Status, asked time.Time) bool {
	taken := false
	s.Set(func() {
		if taken = !asked.Before(s.touched); taken {
			s.became(status)
		}
	})
	return taken
}

// begin marks a long operation, which ps shows until end is called. The caller holds Op.
func (s *Sandbox) begin(doing api.State) (end func()) {
	s.Set(func() { s.doing, s.startAt, s.undelivered = doing, "", doing == starting && !s.Lease.Scheduled() })
	return func() {
		s.Set(func() { s.doing, s.undelivered, s.touched = "", false, time.Now() })
	}
}

// Snapshot is the state of a sandbox at one moment.
type Snapshot struct {
	ID       string
	Record   *state.Record
	Status   drivers.Status // the engine's last report; clean its texts before showing them
	State    api.State
	Progress string // one line, while it starts
	Reason   string // one line, when something is wrong
	Token    lease.Renewal
	Seen     uint64 // the generation that the sandbox last reported
	Share    string // the directory that is mounted
	Warnings []string
	Clients  int // streams that are connected
}

// Snapshot never waits for an engine.
func (s *Sandbox) Snapshot() Snapshot {
	token, _ := s.Lease.Renewal()
	warnings := s.Item.Warnings()
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.RecLocked()
	v := Snapshot{ID: s.ID, Record: r, Status: s.status, State: s.status.State, Reason: s.status.Reason,
		Token: token, Seen: s.status.SeenGeneration, Clients: s.clients, Share: s.Lease.Share().AuthDir(),
		Warnings: warnings}
	switch {
	case s.doing != "":
		v.State, v.Progress, v.Reason = s.doing, s.startAt, cmp.Or(s.startAt, v.Reason)
	case r.Lost != "":
		v.State = api.StateDead
	case !s.pauses.Until.IsZero() && r.Desired == state.WantRunning && (v.State == drivers.Exited || v.State == drivers.Dead):
		v.State, v.Reason = api.StateRestarting, cmp.Or(v.Reason, s.pauses.Line(time.Now()))
	case v.State == "":
		v.State = api.StateUnknown
		if err := absence(s); err != nil {
			v.Reason = err.Error()
		} else if v.Reason == "" && s.Problem == "" {
			v.Reason = r.Driver + " has not said yet what has become of it"
		}
	}
	v.Reason = cmp.Or(s.Problem, v.Reason, r.Lost)
	return v
}

// Use reports whether the sandbox runs, and whether the gateway must not end because of it:
// it runs, is not in its desired state, has clients, or has an operation under way.
func (s *Sandbox) Use() (running, needed bool) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.status.State == drivers.Running, s.needsLook() || s.clients > 0 || s.doing != ""
}

// needsLook reports whether the reconciler has to watch the sandbox. The caller holds Mu.
func (s *Sandbox) needsLook() bool {
	r := s.RecLocked()
	ended := s.status.State == drivers.Exited || s.status.State == drivers.Dead
	return r.Desired != state.WantStopped || s.status.State == drivers.Running || !r.Made || ended && r.Request.AutoRemove
}
