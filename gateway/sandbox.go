package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/text"
	"openshell-vm/share"
)

// sandbox is one sandbox in memory: its record, what is known of its token and
// what its engine said last. It costs no goroutine and no descriptor.
type sandbox struct {
	id string

	// The order of these locks and the others is in doc.go.

	// op is held by whoever creates, starts, stops or removes the sandbox.
	// Publishing needs no such order: the share's own lock gives it.
	op opLock
	// saving is held while a changed record is on its way to the disk.
	saving sync.Mutex

	mu       sync.Mutex         // guards the rest, never held over a system call
	schedule *schedule.Schedule // follows every change: see plan; nil until the sandbox is known
	record   *state.Record      // replaced, never changed
	share    *share.Share
	token    lease.Renewal
	seen     uint64         // the generation that the sandbox last said it sees
	warnings [3]string      // one line each, "" for none: see the constants below
	news     chan struct{}  // closed when the token changed, or a renewal failed; nil if nobody waits
	status   drivers.Status // what the engine said last; State is "" before it said anything
	up       bool           // seen running, or started, with no gap since in which it could have been ended from outside
	doing    api.State      // starting or stopping, while that is under way
	startAt  string         // what the start is at, if it takes long; one line
	// undelivered says that a start has not come to its publish yet, which begins the renewals
	undelivered bool
	problem     string           // why the reconciler could not do its work, one line
	retry       schedule.Backoff // of the reconciler's work
	touched     time.Time        // when an operation changed it last: older reports of the engine are void
	clients     int              // streams that are connected: --rm waits for them
	removed     bool             // the engine has it no more, or its own share is removed: nothing is left to renew
	gone        bool             // its record, too
}

// What a sandbox's warnings are about.
const (
	untidyPublish = iota // the last publish succeeded, and could not tidy up
	untidyPrune          // old content of the share can't be removed
	remade               // the share was lost and made anew
)

func (s *sandbox) rec() *state.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record
}

// set runs f, which may change the state, with the state locked. The schedule follows.
func (s *sandbox) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.plan()
}

// observe takes over what the engine says. asked is when it was asked: what an
// operation did since then is not to be overwritten. It says whether it took it.
func (s *sandbox) observe(status drivers.Status, asked time.Time) bool {
	taken := false
	s.set(func() {
		if taken = !asked.Before(s.touched); taken {
			s.status = status
			s.seen = status.SeenGeneration
		}
	})
	return taken
}

// begin marks a long operation, for ps. The caller holds op and calls the end.
func (s *sandbox) begin(doing api.State) (end func()) {
	s.set(func() { s.doing, s.startAt, s.undelivered = doing, "", doing == starting && !s.schedule.Has(s.id) })
	return func() {
		s.set(func() { s.doing, s.undelivered, s.touched = "", false, time.Now() })
	}
}

// view is the sandbox as people see it. What a stopped one holds may be of a key
// that is retired: it is given a new one at its start.
func (g *Gateway) view(s *sandbox) api.Sandbox {
	v := s.view()
	if t := &v.Token; t.KeyID != "" && !g.keys.Verifies(t.KeyID, time.Now()) {
		t.Revoked = true
	}
	return v
}

// view is Gateway.view as far as it needs no key.
func (s *sandbox) view() api.Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, q := s.record, s.record.Request
	v := api.Sandbox{
		ID: r.ID, Name: r.Name, Driver: r.Driver, Hypervisor: q.Hypervisor,
		State: s.status.State, Desired: r.Desired, Reason: s.status.Reason,
		Rootfs: q.Rootfs, Image: q.Image, Process: q.Process, Mounts: q.Mounts, CPUs: q.CPUs, Memory: q.Memory, Disk: q.Disk,
		AutoRemove: q.AutoRemove, CreatedAt: r.CreatedAt, StartedAt: s.status.StartedAt, ExitedAt: s.status.ExitedAt,
		Share: s.share.AuthDir(), TTL: r.TTL(), Token: s.shownToken(), Warnings: r.Warnings,
	}
	switch {
	case s.doing != "":
		v.State, v.Progress, v.Reason = s.doing, text.Line(s.startAt), cmp.Or(s.startAt, v.Reason)
	case r.Lost != "":
		v.State = api.StateDead
	case v.State == "":
		v.State = api.StateUnknown
		if v.Reason == "" && s.problem == "" {
			v.Reason = r.Driver + " has not said yet what has become of it"
		}
	}
	for _, warning := range s.warnings {
		if warning != "" {
			v.Warnings = append(slices.Clip(v.Warnings), warning)
		}
	}
	if r.Own() && s.problem != "" {
		v.Warnings = append(slices.Clip(v.Warnings), s.problem)
	}
	if v.Reason == "" {
		v.Reason = r.Lost
	}
	if s.problem != "" {
		v.Reason = s.problem
	}
	if s.status.State == drivers.Exited {
		code := s.status.ExitCode
		v.ExitCode = &code
	}
	for _, fact := range s.status.Details {
		v.Details = append(v.Details, api.Fact{Name: text.Line(fact.Name), Value: text.Line(fact.Value)})
	}
	v.Reason = text.Line(v.Reason) // an engine, an image or a guest may have written it
	return v
}

// shownToken is what can be said of the token. The caller holds s.mu.
func (s *sandbox) shownToken() api.Token {
	t := s.token
	return api.Token{Generation: t.Generation, KeyID: t.KeyID, TokenID: t.TokenID, IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt,
		Revoked: t.Revoked, RenewAt: t.RenewAt, SeenGeneration: s.seen,
		Renewals: t.Renewals, Failures: t.Failures, LastError: t.LastError, LastErrorAt: t.LastErrorAt}
}

// floor is the lowest generation that the next publish may use.
func (s *sandbox) floor() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.Generation == 0 && s.record.Made {
		return s.record.GenerationLimit + 1 // the share was lost: any number up to there may have been used
	}
	return s.token.Generation + 1
}

// update changes the record: on disk first, then in memory. An error means that
// nothing has changed.
func (g *Gateway) update(s *sandbox, change func(*state.Record)) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	next := *s.rec()
	change(&next)
	if err := g.home.Save(&next); err != nil {
		return fmt.Errorf("write the record of %s: %w", next.Name, err)
	}
	s.set(func() { s.record = &next })
	return nil
}

// add makes a sandbox known; it fails if the name is taken.
func (g *Gateway) add(s *sandbox) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	name := s.record.Name
	if name == "" {
		name = newName(func(n string) bool { return g.names[n] != nil })
		s.record.Name = name
	}
	if other := g.names[name]; other != nil {
		return nameTaken(other.rec())
	}
	g.sandboxes[s.id], g.names[name] = s, s
	s.set(func() { s.schedule = g.schedule })
	return nil
}

// drop makes a sandbox unknown, its token with it, and ends its renewals.
func (g *Gateway) drop(s *sandbox) {
	g.mu.Lock()
	delete(g.sandboxes, s.id)
	if name := s.rec().Name; g.names[name] == s {
		delete(g.names, name)
	}
	g.mu.Unlock()
	s.set(func() { s.gone = true })
	g.prunes.Remove(s.id)
}

// byID finds a sandbox, nil if there is none.
func (g *Gateway) byID(id string) *sandbox {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.sandboxes[id]
}

// all gives every sandbox, in no order.
func (g *Gateway) all() []*sandbox {
	g.mu.RLock()
	defer g.mu.RUnlock()
	all := make([]*sandbox, 0, len(g.sandboxes))
	for _, s := range g.sandboxes {
		all = append(all, s)
	}
	return all
}

// find resolves a ref: a name, an id or a unique prefix of one.
func (g *Gateway) find(ref string) (*sandbox, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if s := g.names[ref]; s != nil {
		return s, nil
	}
	if s := g.sandboxes[ref]; s != nil {
		return s, nil
	}
	var found *sandbox
	for id, s := range g.sandboxes {
		if ref == "" || !strings.HasPrefix(id, ref) {
			continue
		}
		if found != nil {
			return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("several sandboxes' ids begin with %q", ref),
				Hint: "give more of the id, or the name: openshell-vm ps -a"}
		}
		found = s
	}
	if err := g.refuseUnread(ref); found == nil && err != nil {
		return nil, err
	}
	if found == nil {
		return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no sandbox %q", ref),
			Hint: "openshell-vm ps -a lists all"}
	}
	return found, nil
}
