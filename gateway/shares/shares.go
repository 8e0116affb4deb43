// Package shares keeps the shares of the user's own: leases without a sandbox. The user
// mounts such a share into a container of their own. This package starts nothing. Its
// tokens are minted, published, renewed and verified like those of sandboxes.
package shares

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/text"
)

// bindStaleness is the bound of a bind mount, which is how containers get a share.
const bindStaleness = time.Second

// createTries bounds how often Create begins again because the share was removed or made
// by somebody else meanwhile.
const createTries = 5

// Shares makes, finds and removes shares of the user's own. It is safe for concurrent use.
type Shares struct {
	roster    *roster.Roster
	surveyors map[string]drivers.Surveyor // by driver: the engines that also run containers of others
	ttl       func() time.Duration        // of tokens for which no lifetime is named

	claiming sync.Mutex
	claims   map[string]int // by id: how many creations that are under way want the share; see Claim
}

// New makes the Shares of a roster. Drivers that are Surveyors are asked what mounts a share.
// ttl is the lifetime of tokens for which none is named.
func New(r *roster.Roster, all []drivers.Driver, ttl func() time.Duration) *Shares {
	s := &Shares{roster: r, ttl: ttl, surveyors: map[string]drivers.Surveyor{}, claims: map[string]int{}}
	for _, d := range all {
		if surveyor, ok := d.(drivers.Surveyor); ok {
			s.surveyors[d.Name()] = surveyor
		}
	}
	return s
}

// Share is one share of the user's own.
type Share struct {
	*roster.Item

	roster *roster.Roster
	remade string // one line, set when the share was made anew; guarded by Mu
}

// Kind, and the methods up to Restore, implement roster.Owner.
func (s *Share) Kind() string { return api.KindShare }

// Phase is Renewed once the share is made: the gateway does not know whether a container
// uses it.
func (s *Share) Phase(r *state.Record) lease.Phase {
	if r.Made {
		return lease.Renewed
	}
	return lease.Idle
}

// Doing says only that an operation is under way, not which one.
func (s *Share) Doing() string { return "another command is at it" }

// Mounted returns nil: the gateway does not know what has the share mounted.
func (s *Share) Mounted() error { return nil }

// Delivered does nothing.
func (s *Share) Delivered() {}

// AfterRestart returns 0: there is no engine whose answer could matter.
func (s *Share) AfterRestart() time.Duration { return 0 }

// Restore makes the share anew if its directory is gone. Containers that have the old
// directory mounted do not see the new one; the next mount does. If Op is held, Restore
// does nothing: its holder makes the share or removes it.
func (s *Share) Restore() (release func()) {
	if !s.Op.TryLock() {
		return nil
	}
	if s.Rec().Kept() && s.restore() == nil {
		return s.Op.Unlock
	}
	s.Op.Unlock()
	return nil
}

// Remade returns one line if the share was made anew, else "".
func (s *Share) Remade() string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.remade
}

// Warnings returns Remade's line and the item's Problem, if there are any.
func (s *Share) Warnings() (lines []string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for _, line := range []string{s.remade, s.Problem} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// Known takes in a share that has a record.
func (s *Shares) Known(r *state.Record) error {
	own, err := s.own(r)
	if err != nil {
		return err
	}
	return s.roster.Add(own.Item)
}

func (s *Shares) own(r *state.Record) (own *Share, err error) {
	own = &Share{roster: s.roster}
	own.Item, err = s.roster.NewItem(r, own)
	return own, err
}

// All returns the shares of the user's own, in no order.
func (s *Shares) All() []*Share { return roster.Of[*Share](s.roster) }

// Find finds an item by a ref that is meant for a share. The item may be a sandbox, because
// each sandbox has a share too.
func (s *Shares) Find(ref string) (*roster.Item, error) {
	it, err := s.roster.Find(ref)
	if isGone(err) {
		return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no share %q", ref),
			Hint: "openshell-vm share ls lists all"}
	}
	return it, err
}

// named finds a share of the user's own by its whole name. It returns nil if there is none.
func (s *Shares) named(name string) *Share {
	if it := s.roster.ByName(name); it != nil {
		own, _ := it.Owner.(*Share)
		return own
	}
	return nil
}

// isGone reports whether an error says that the item does not exist, or was removed.
func isGone(err error) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Code == api.CodeNotFound
}

// restore makes the share's directory anew if it is gone. It fails if the record is gone
// too: then the whole state directory may be. The caller holds Op.
func (s *Share) restore() error {
	_, err := os.Lstat(s.Lease.Share().AuthDir())
	if !errors.Is(err, fs.ErrNotExist) {
		return nil // if the share is damaged, the publish reports how
	}
	if _, err := os.Lstat(s.roster.Home.RecordPath(s.ID)); err != nil {
		return err
	}
	if err := s.roster.MakeShare(s.Rec()); err != nil {
		return err
	}
	s.Set(func() {
		s.remade = fmt.Sprintf("its directory was gone and was made anew at %s: restart what had it mounted",
			time.Now().Format(time.TimeOnly))
	})
	s.roster.Log.Warn("the directory of a share was gone and was made anew", "share", s.ID, "name", s.Rec().Name)
	return nil
}

// Remove deletes a share of the user's own. Without force it refuses while something has
// the share mounted, because that would then see an empty directory.
func (s *Shares) Remove(ctx context.Context, it *roster.Item, force bool) error {
	name := it.Rec().Name
	own, ok := it.Owner.(*Share)
	if !ok {
		return &api.Error{Code: api.CodeConflict, Message: "the share belongs to sandbox " + name,
			Hint: "it goes with the sandbox: openshell-vm rm " + name}
	}
	if err := own.Acquire(ctx, roster.EndDeadline); err != nil {
		return err
	}
	defer own.Release()
	if own.Gone() {
		return own.Present()
	}
	if !force {
		if err := s.refuseShown(own); err != nil {
			return err
		}
		if err := s.refuseUsed(ctx, own); err != nil {
			return err
		}
	}
	return own.ExplainRemoval(own.Erase(context.WithoutCancel(ctx), nothingRuns))
}

// refuseUsed returns an error if something has the share mounted, or if an engine did not
// answer in time.
func (s *Shares) refuseUsed(ctx context.Context, own *Share) error {
	name := own.Rec().Name
	users, silent := s.usersOf(ctx, own.Lease.Share().Dir())
	if err := ctx.Err(); err != nil {
		return err // the client has gone, so the engines may not have answered
	}
	if len(users) > 0 {
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the share %s is in use: %s", name, text.AtMost(users, 3)),
			Hint: "end what uses it first, or remove it all the same with --force: what has it mounted then finds no token"}
	}
	if len(silent) > 0 {
		return &api.Error{Code: api.CodeConflict,
			Message: fmt.Sprintf("whether the share %s is in use is not known: %s did not answer in time",
				name, strings.Join(silent, ", ")),
			Hint: "try again; --force removes it all the same: what has it mounted then finds no token"}
	}
	return nil
}

// Tidy erases the shares of the user's own that a failed or killed creation or removal
// left. The reconciler does not do that, because these shares have no engine.
func (s *Shares) Tidy(ctx context.Context) {
	for _, own := range s.All() {
		if own.Rec().Kept() || !own.Op.TryLock() {
			continue
		}
		if own.Rec().Kept() { // its creation ended in the meantime
			own.Op.Unlock()
			continue
		}
		s.takeBack(ctx, own, "a share is not removed yet")
		own.Release()
	}
}
