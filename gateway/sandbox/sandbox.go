package sandbox

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
)

// Sandbox is a lease plus an engine: its item, and what its engine said last.
type Sandbox struct {
	*roster.Item

	fleet  *Fleet
	engine *engine

	// Mu guards the rest, which Set changes.

	status  drivers.Status // what the engine said last; State is "" before it said anything
	up      bool           // seen running, or started, with no gap since in which it could have been ended from outside
	doing   api.State      // starting or stopping, while that is under way
	startAt string         // what the start is at, if it takes long; one line
	// undelivered says that a start has not come to its publish yet, which begins the renewals
	undelivered bool
	retry       schedule.Backoff // of the reconciler's work
	touched     time.Time        // when an operation changed it last: older reports of the engine are void
	clients     int              // streams that are connected: --rm waits for them
}

// Kind is for roster.Owner, as what follows is.
func (s *Sandbox) Kind() string { return api.KindSandbox }

// Phase: the token is kept fresh while the sandbox runs, should run, or may run because
// its engine has not been heard of it. What is stopped holds the token that it had, until
// that expires: an engine's word may be late, and what runs all the same must not lose it.
// Its start delivers a fresh one first. What is being removed is renewed until it has
// ended.
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

// Doing is what it is at, or its state.
func (s *Sandbox) Doing() string { return string(s.Snapshot().State) }

// Mounted tells whether the share's directory is the one that a running sandbox has
// mounted. What is published elsewhere is not delivered.
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

// Restore is nothing: the share is made anew at the next start.
func (s *Sandbox) Restore() (release func()) { return nil }

// Delivered notes that a start has come to its publish.
func (s *Sandbox) Delivered() { s.Set(func() { s.undelivered = false }) }

// engineWord is how long what was stopped waits after a restart for its engine to
// say so. One that doesn't answer may run it.
const engineWord = 4 * firstLook

// AfterRestart gives the engine the time to say that it is stopped.
func (s *Sandbox) AfterRestart() time.Duration {
	if s.Rec().Desired == state.WantStopped {
		return engineWord
	}
	return 0
}

// observe takes over what the engine says. asked is when it was asked: what an
// operation did since then is not to be overwritten. It says whether it took it.
func (s *Sandbox) observe(status drivers.Status, asked time.Time) bool {
	taken := false
	s.Set(func() {
		if taken = !asked.Before(s.touched); taken {
			s.status = status
		}
	})
	return taken
}

// begin marks a long operation, for ps. The caller holds Op and calls the end.
func (s *Sandbox) begin(doing api.State) (end func()) {
	s.Set(func() { s.doing, s.startAt, s.undelivered = doing, "", doing == starting && !s.Lease.Scheduled() })
	return func() {
		s.Set(func() { s.doing, s.undelivered, s.touched = "", false, time.Now() })
	}
}

// Snapshot is all that can be said of a sandbox at one moment.
type Snapshot struct {
	ID       string
	Record   *state.Record
	Status   drivers.Status // of the engine; cleaned before it is shown
	State    api.State
	Progress string // one line, while it starts
	Reason   string // one line, when something is wrong
	Token    lease.Renewal
	Seen     uint64 // the generation that the sandbox last said it sees
	Share    string // the directory that is mounted
	Warnings []string
	Clients  int // streams that are connected
}

// Snapshot never waits for an engine.
func (s *Sandbox) Snapshot() Snapshot {
	token, _ := s.Lease.Renewal()
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.RecLocked()
	v := Snapshot{ID: s.ID, Record: r, Status: s.status, State: s.status.State, Reason: s.status.Reason,
		Token: token, Seen: s.status.SeenGeneration, Clients: s.clients, Share: s.Lease.Share().AuthDir(),
		Warnings: append(slices.Clip(r.Warnings), s.Lease.Warnings()...)}
	switch {
	case s.doing != "":
		v.State, v.Progress, v.Reason = s.doing, s.startAt, cmp.Or(s.startAt, v.Reason)
	case r.Lost != "":
		v.State = api.StateDead
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

// Use says whether it runs, and whether the gateway must not end for it: it runs, should
// run or be gone, or somebody is at it.
func (s *Sandbox) Use() (running, needed bool) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.status.State == drivers.Running, s.needsLook() || s.clients > 0 || s.doing != ""
}

// needsLook: the caller holds Mu.
func (s *Sandbox) needsLook() bool {
	r := s.RecLocked()
	ended := s.status.State == drivers.Exited || s.status.State == drivers.Dead
	return r.Desired != state.WantStopped || s.status.State == drivers.Running || !r.Made || ended && r.Request.AutoRemove
}
