// Package secrets keeps named secrets, and takes each change of one to all shares that show it.
//
// What they hold is in package vault. Which shares show them is in records, as sources of
// files. A change publishes each of these shares anew, those of stopped sandboxes too.
//
// What it promises: a secret that something uses is removed only by force, and then from the
// shares' current generations before Remove returns. From older ones it goes with the shares'
// grace. A removal that was interrupted, or that some share did not take, is gone on with until
// no share has the secret. Content is in no record, log line, event or error.
//
// What it does not promise: a share whose record can't be read keeps what it has until it can.
package secrets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audit"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/text"
)

// atOnce bounds how many shares are published at the same time.
const atOnce = 8

// Secrets are those of one state directory. It is safe for concurrent use.
type Secrets struct{ roster *roster.Roster }

// New makes the secrets of a roster.
func New(r *roster.Roster) *Secrets { return &Secrets{r} }

// Create makes a secret. It refuses a name that is taken.
func (s *Secrets) Create(name string, content []byte) (api.Secret, error) {
	if err := s.roster.Secrets.Write(name, content, true); err != nil {
		return api.Secret{}, err
	}
	s.note(name, "created")
	return s.Get(name)
}

// Set replaces what is in a secret, and returns once it is in all shares that show it. Those
// that did not take it are in the answer's warnings. They are tried again.
func (s *Secrets) Set(ctx context.Context, name string, content []byte) (api.Secret, error) {
	if err := s.roster.Secrets.Write(name, content, false); err != nil {
		return api.Secret{}, err
	}
	s.note(name, "replaced")
	failed := s.each(ctx, name, func(ctx context.Context, it *roster.Item) error {
		err := it.Republish(ctx)
		if err != nil {
			it.Lease.Hasten()
		}
		return err
	})
	secret, err := s.Get(name)
	for _, err := range failed {
		secret.Warnings = append(secret.Warnings, "not there yet: "+explain.Line(err))
	}
	return secret, err
}

// note tells the logs that a secret was changed.
func (s *Secrets) note(name, how string) {
	s.roster.Log.Info("a secret was "+how, "name", name)
	s.roster.Audit.Write(audit.Event{What: audit.Secret, Name: name, Reason: how})
}

// All returns every secret, by name.
func (s *Secrets) All() ([]api.Secret, error) {
	names, err := s.roster.Secrets.Names()
	if err != nil {
		return nil, err
	}
	users := s.users()
	all := []api.Secret{}
	for _, name := range names {
		all = append(all, s.see(name, users[name]))
	}
	return all, nil
}

// Get returns one secret.
func (s *Secrets) Get(name string) (api.Secret, error) {
	_, err := s.roster.Secrets.Info(name)
	var e *api.Error
	if errors.As(err, &e) && e.Code == api.CodeNotFound {
		return api.Secret{}, err
	}
	return s.see(name, s.users()[name]), nil
}

func (s *Secrets) see(name string, users []*roster.Item) api.Secret {
	info, err := s.roster.Secrets.Info(name)
	view := api.Secret{Name: name, Size: info.Size, CreatedAt: info.CreatedAt, ChangedAt: info.ChangedAt, UsedBy: namesOf(users)}
	if err != nil {
		view.Problem = explain.Line(err)
	}
	return view
}

// users returns who has which secret in a file of its share.
func (s *Secrets) users() map[string][]*roster.Item {
	users := map[string][]*roster.Item{}
	for _, it := range s.roster.All() {
		seen := map[string]bool{}
		for _, source := range it.Rec().Request.Sources {
			if name := source.Secret; name != "" && !seen[name] {
				seen[name] = true
				users[name] = append(users[name], it)
			}
		}
	}
	return users
}

func namesOf(items []*roster.Item) (names []string) {
	for _, it := range items {
		names = append(names, cmp.Or(it.Rec().Name, it.ID))
	}
	slices.Sort(names)
	return names
}

// each calls f for all that use a secret, some at the same time, and returns its errors.
func (s *Secrets) each(ctx context.Context, name string, f func(context.Context, *roster.Item) error) (failed []error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for _, it := range s.users()[name] {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			if err := f(ctx, it); err != nil && !it.Gone() {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, fmt.Errorf("%s: %w", it.Rec().Name, err))
			}
		})
	}
	all.Wait()
	return failed
}

// Remove deletes a secret. Without force it refuses one that something uses. It returns once no
// share's current generation has it. What has failed is gone on with: see Tidy.
func (s *Secrets) Remove(ctx context.Context, name string, force bool) error {
	if _, err := s.Get(name); err != nil {
		return err
	}
	if err := s.refuseUsed(name); err != nil && !force {
		return err
	}
	if err := s.roster.Secrets.Remove(name); err != nil && !s.roster.Secrets.Removed(name) {
		return err
	}
	s.note(name, "removed")
	if err := s.end(context.WithoutCancel(ctx), name); err != nil {
		return &api.Error{Code: api.CodeConflict,
			Message: fmt.Sprintf("the secret %s is removed, but not everywhere yet: %s", name, explain.Line(err)),
			Hint:    "the gateway goes on trying; openshell-vm share inspect shows what is in the way"}
	}
	return nil
}

// refuseUsed refuses a secret that something uses, or may use.
func (s *Secrets) refuseUsed(name string) error {
	if users := s.users()[name]; len(users) > 0 {
		return &api.Error{Code: api.CodeConflict,
			Message: fmt.Sprintf("the secret %s is in use by %s", name, text.AtMost(namesOf(users), 5)),
			Hint: "take it out of their shares first: openshell-vm share set --unset FILE; " +
				"or remove it everywhere: openshell-vm secret rm --force " + name}
	}
	for _, kind := range []string{api.KindSandbox, api.KindShare} {
		if unread := s.roster.Unread(kind); len(unread) > 0 {
			return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the secret %s may be in use: the record of %s %s can't be read",
				name, kind, unread[0].ID), Hint: "see what is wrong with it: openshell-vm ps -a"}
		}
	}
	return nil
}

// end takes a removed secret out of all shares and records, and then forgets it.
func (s *Secrets) end(ctx context.Context, name string) error {
	failed := s.each(ctx, name, func(ctx context.Context, it *roster.Item) error { return withdraw(ctx, it, name) })
	for _, kind := range []string{api.KindSandbox, api.KindShare} {
		for _, u := range s.roster.Unread(kind) {
			failed = append(failed, fmt.Errorf("the record of %s %s can't be read", kind, u.ID))
		}
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	return s.roster.Secrets.Forget(name)
}

// withdraw takes a removed secret out of a share, and then out of its record. The other way
// round a publish that fails would leave a file that nobody knows of.
func withdraw(ctx context.Context, it *roster.Item, name string) error {
	if err := it.Republish(ctx); err != nil {
		return err
	}
	shows := func(source api.Source) bool { return source.Secret == name }
	err := it.Update(func(r *state.Record) {
		r.Request.Sources = slices.DeleteFunc(slices.Clone(r.Request.Sources), shows)
	})
	if err == nil {
		it.Tell(api.EventUpdated)
	}
	return err
}

// Tidy goes on with removals that did not end.
func (s *Secrets) Tidy(ctx context.Context) {
	for _, name := range s.roster.Secrets.AllRemoved() {
		if err := s.end(ctx, name); err != nil {
			s.roster.Log.Debug("a removed secret is not out of all shares yet", "name", name, "error", explain.Line(err))
		}
	}
}
