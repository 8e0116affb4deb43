package shares

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audience"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/text"
)

// A share of the user's own can be shown in sandboxes, as many as there are. It is published once
// for all of them. A sandbox's record says which it sees; that holds the share.

// Claim holds the shares that a new sandbox is to see, until release is called. By then the
// sandbox's record has to name them.
func (s *Shares) Claim(ctx context.Context, shown []api.ShownShare) (release func(), err error) {
	var held []string
	release = func() {
		s.claiming.Lock()
		defer s.claiming.Unlock()
		for _, id := range held {
			if s.claims[id]--; s.claims[id] == 0 {
				delete(s.claims, id)
			}
		}
	}
	for _, one := range shown {
		id, err := s.claim(ctx, one.Name)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, id)
	}
	return release, nil
}

// claim waits for an operation that is under way: it may be the share's removal.
func (s *Shares) claim(ctx context.Context, name string) (id string, err error) {
	own, err := s.shown(name)
	if err != nil {
		return "", err
	}
	if err := own.Acquire(ctx, roster.EndDeadline); err != nil {
		return "", err
	}
	defer own.Release()
	if err := own.Present(); err != nil {
		return "", err
	}
	s.claiming.Lock()
	defer s.claiming.Unlock()
	s.claims[own.ID]++
	return own.ID, nil
}

// shown finds a share that is to be shown, by its whole name.
func (s *Shares) shown(name string) (*Share, error) {
	own := s.named(name)
	if own != nil && own.Rec().Kept() {
		return own, nil
	}
	e := &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no share %q", name),
		Hint: "make it first: openshell-vm share create " + name + "; share ls lists all"}
	if it := s.roster.ByName(name); it != nil && own == nil {
		e.Message += fmt.Sprintf(": %s is a sandbox, whose share is its own", name)
		e.Hint = "share create makes one under another name, for as many sandboxes as you like"
	}
	return nil, e
}

// Suit refuses shares whose tokens don't live long enough for a sandbox that may see what was
// superseded for as long as staleness. It makes the others stay readable for that long.
func (s *Shares) Suit(shown []api.ShownShare, staleness time.Duration) error {
	for _, one := range shown {
		own, err := s.shown(one.Name)
		if err != nil {
			return err
		}
		r := own.Rec()
		_, err = explain.TTL(r.TTL(), staleness)
		if err == nil {
			_, err = audience.CheckTTL(r.Request.Tokens, staleness)
		}
		if err != nil {
			e := *explain.Error(err)
			e.Message = fmt.Sprintf("the share %s can't be shown in this sandbox: %s", one.Name, e.Message)
			e.Hint = "make a share whose tokens live longer: openshell-vm share create --ttl"
			return &e
		}
		if err := own.Outlast(staleness); err != nil {
			return err
		}
	}
	return nil
}

// Freshen makes sure that shares hold fresh tokens, before a sandbox is started that sees them.
func (s *Shares) Freshen(ctx context.Context, shown []api.ShownShare) error {
	for _, one := range shown {
		own, err := s.shown(one.Name)
		if err != nil {
			return err
		}
		_, gone := os.Lstat(own.Lease.Share().AuthDir())
		if !errors.Is(gone, fs.ErrNotExist) && s.roster.Keeper.Fresh(own.Lease) {
			continue
		}
		own.Lease.Reread()
		err = own.Deliver(ctx, nil)
		if err == nil {
			err = own.Lease.Startable()
		}
		if err != nil {
			e := *explain.Error(own.Blame(err))
			e.Message = fmt.Sprintf("the share %s: %s", one.Name, e.Message)
			return &e
		}
	}
	return nil
}

// ShownIn returns the names of the sandboxes that see a share, or will when they are started.
func (s *Shares) ShownIn(name string) []string { return s.Shown()[name] }

// Shown is ShownIn of each share that a sandbox sees, by the share's name.
func (s *Shares) Shown() map[string][]string {
	all := map[string][]string{}
	for _, it := range s.roster.All() {
		r := it.Rec()
		for _, share := range r.Request.Shares {
			all[share.Name] = append(all[share.Name], cmp.Or(r.Name, r.ID))
		}
	}
	for _, sandboxes := range all {
		slices.Sort(sandboxes)
	}
	return all
}

// Shows reports whether a sandbox sees a share of the user's own.
func Shows(r *state.Record, name string) bool {
	return slices.ContainsFunc(r.Request.Shares, func(s api.ShownShare) bool { return s.Name == name })
}

// refuseShown returns an error if a sandbox sees the share, or may. The caller holds the share's Op.
func (s *Shares) refuseShown(own *Share) error {
	name := own.Rec().Name
	conflict := func(message, hint string) error {
		return &api.Error{Code: api.CodeConflict, Message: message,
			Hint: hint + "; --force removes the share all the same: what sees it then finds no token"}
	}
	if in := s.ShownIn(name); len(in) > 0 {
		return conflict(fmt.Sprintf("the share %s is in use by %s", name, text.AtMost(in, 3)),
			"remove what uses it first: openshell-vm rm "+strings.Join(in, " "))
	}
	s.claiming.Lock()
	claimed := s.claims[own.ID] > 0
	s.claiming.Unlock()
	if claimed {
		return conflict(fmt.Sprintf("the share %s is in use by a sandbox that is being made", name), "openshell-vm ps -a shows it")
	}
	if unread := s.roster.Unread(api.KindSandbox); len(unread) > 0 {
		return conflict(fmt.Sprintf("the share %s may be in use: the record of sandbox %s can't be read", name, unread[0].ID),
			"see what is wrong with it: openshell-vm ps -a")
	}
	return nil
}
