package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// A share of the user's own is a record without a driver: what mounts it is a
// container that the user starts. It is minted, published, scheduled, repaired
// and verified as any sandbox's share is; only nothing is ever started.

// bindStaleness is the bound of a bind mount, which is how containers get it.
const bindStaleness = time.Second

// createTries bounds how often a share may vanish, or appear, while one is asked for.
const createTries = 5

// createShare makes a share of the user's own, with a first token, or finds the
// one that is there: who asks twice has one share. It is given a fresh token if its
// last one is due, so that what mounts it next finds one.
func (g *Gateway) createShare(ctx context.Context, q api.ShareRequest) (s *sandbox, created bool, err error) {
	for range createTries {
		if s = g.ownShare(q.Name); s != nil {
			if err = g.takeShare(ctx, s, q); !isGone(err) {
				return s, false, err
			}
		}
		if s, err = g.makeNew(ctx, q); err == nil || g.ownShare(q.Name) == nil {
			return s, true, err
		}
	}
	return nil, false, err
}

// makeNew makes one of which there is none.
func (g *Gateway) makeNew(ctx context.Context, q api.ShareRequest) (*sandbox, error) {
	s, err := g.newShare(q)
	if err != nil {
		return nil, err
	}
	if err := s.op.lock(ctx); err != nil { // nobody else knows it yet
		return nil, err
	}
	defer g.release(s)
	if err := g.add(s); err != nil {
		return nil, err
	}
	if err := g.makeOwn(ctx, s); err != nil {
		g.unmake(context.WithoutCancel(ctx), s)
		return nil, err
	}
	return s, nil
}

// isGone says of an error that what was asked for was removed meanwhile.
func isGone(err error) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Code == api.CodeNotFound
}

// blame says why a file of a share was not found: because it was removed
// meanwhile, or is still being made.
func (s *sandbox) blame(err error) error {
	if !isNotExist(err) {
		return err
	}
	if gone := s.present(); gone != nil {
		return gone
	}
	r := s.rec()
	if _, now := os.Lstat(s.share.AuthDir()); !r.Made || now == nil { // it may have been made since
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%s was still being made", r.Name), Hint: "try again"}
	}
	return err
}

// ownShare finds a share of the user's own by its whole name, nil if there is none.
func (g *Gateway) ownShare(name string) *sandbox {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if s := g.names[name]; s != nil && s.rec().Own() {
		return s
	}
	return nil
}

// newShare checks a request and makes its record. The share lies in the state
// directory, by name: the user's containers find it there after a reboot.
func (g *Gateway) newShare(q api.ShareRequest) (*sandbox, error) {
	if err := state.CheckName(q.Name); err != nil {
		return nil, err
	}
	if q.TTL == 0 {
		q.TTL = tokens.DefaultTTL
	}
	warning, err := checkTTL(q.TTL, bindStaleness)
	if err != nil {
		return nil, invalid(err)
	}
	id := state.NewID()
	r := &state.Record{Version: state.Version, ID: id, Name: q.Name, CreatedAt: time.Now(),
		Request: state.Request{Name: q.Name, TTL: q.TTL}, Staleness: bindStaleness,
		Share: g.home.NamedShare(q.Name), GenerationLimit: generationStep}
	if warning != "" {
		r.Warnings = append(r.Warnings, warning)
	}
	if err := checkMountable(r.Share); err != nil {
		return nil, err
	}
	r.Want(state.WantRunning)
	s := &sandbox{id: id, record: r}
	s.share, err = share.At(r.Share, g.shareOptions(r))
	return s, err
}

// checkMountable refuses a path that is not the same everywhere that it may be
// written to: a shell's substitution, --mount, --volume.
func checkMountable(path string) error {
	if !strings.ContainsAny(path, " \t\n,:;\"'\\$`*?[]{}()<>|&!#~") {
		return nil
	}
	return &drivers.Error{Op: "make a share below " + filepath.Dir(path), Err: errors.New("container tools would misread this path"),
		Hint: "choose a state directory without blanks and special characters with " + api.EnvStateDir}
}

// makeOwn makes everything on disk, the record first, as makeAll does.
func (g *Gateway) makeOwn(ctx context.Context, s *sandbox) error {
	if err := g.home.MakeSandboxDir(s.id); err != nil {
		return err
	}
	if err := g.home.Save(s.rec()); err != nil {
		return err
	}
	if err := g.makeShare(s.rec()); err != nil {
		return err
	}
	if err := g.deliver(ctx, s, false); err != nil {
		return err
	}
	return g.update(s, func(r *state.Record) { r.Made = true })
}

// takeShare gives what a request asks for from a share that exists, once it
// holds a token that is not due.
func (g *Gateway) takeShare(ctx context.Context, s *sandbox, q api.ShareRequest) error {
	if err := g.acquire(ctx, s, endDeadline); err != nil { // it may still be being made
		return err
	}
	defer g.release(s)
	if err := s.present(); err != nil {
		return err
	}
	r := s.rec()
	if q.TTL != 0 && q.TTL != r.TTL() && !q.Ignore {
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the share %q has a token lifetime of %v, not %v", r.Name, r.TTL(), q.TTL),
			Hint: "leave --ttl out to take it as it is, or remove it first: openshell-vm share rm " + r.Name}
	}
	if err := g.restore(s); err != nil {
		return err
	}
	now := time.Now()
	claims, err := g.readToken(s, now)
	if err == nil && !tokens.Due(now, claims.IssuedAt, r.TTL(), s.id) {
		return nil
	}
	return g.deliver(ctx, s, false)
}

// publish is share.Publish for deliver. A share of the user's own whose directory
// is gone is made anew: nothing that has the old one mounted can see it any
// more, and what mounts it next finds it. A sandbox's is made at its next start.
func (g *Gateway) publish(ctx context.Context, s *sandbox, build func(uint64) ([]share.File, error)) (share.Published, error) {
	p, err := s.share.Publish(ctx, s.floor(), build)
	if !isNotExist(err) || !s.rec().Own() || !s.op.tryLock() {
		return p, err // whoever holds op makes it, or removes it
	}
	defer s.op.unlock()
	if !s.rec().Kept() || g.restore(s) != nil {
		return p, err
	}
	return s.share.Publish(ctx, s.floor(), build)
}

// restore makes what is gone of a share, unless the whole state directory is. The
// caller holds s.op.
func (g *Gateway) restore(s *sandbox) error {
	_, err := os.Lstat(s.share.AuthDir())
	if !isNotExist(err) {
		return nil // if it is damaged, Publish says how
	}
	if _, err := os.Lstat(g.home.RecordPath(s.id)); err != nil {
		return err
	}
	if err := g.makeShare(s.rec()); err != nil {
		return err
	}
	s.set(func() {
		s.warnings[remade] = fmt.Sprintf("its directory was gone and was made anew at %s: restart what had it mounted", time.Now().Format(time.TimeOnly))
	})
	g.log.Warn("the directory of a share was gone and was made anew", "share", s.id, "name", s.rec().Name)
	return nil
}

// removeShare deletes a share of the user's own. A container that still has it
// mounted would see an empty directory: without force the share stays.
func (g *Gateway) removeShare(ctx context.Context, s *sandbox, force bool) error {
	r := s.rec()
	if !r.Own() {
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the share belongs to sandbox %s", r.Name),
			Hint: "it goes with the sandbox: openshell-vm rm " + r.Name}
	}
	if err := g.acquire(ctx, s, endDeadline); err != nil {
		return err
	}
	defer g.release(s)
	if s.isGone() {
		return s.present()
	}
	if force {
		return g.explainRemoval(s, g.erase(context.WithoutCancel(ctx), s))
	}
	users, silent := g.usersOf(ctx, s.share.Dir())
	if err := ctx.Err(); err != nil {
		return err // who asked has gone: the engines may not have been heard
	}
	if len(users) == 0 && len(silent) > 0 {
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("whether the share %s is in use is not known: %s did not answer in time", r.Name, strings.Join(silent, ", ")),
			Hint: "try again; --force removes it all the same: what has it mounted then finds no token"}
	}
	if len(users) > 0 {
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the share %s is in use: %s", r.Name, atMost(users, 3)),
			Hint: "end what uses it first, or remove it all the same with --force: what has it mounted then finds no token"}
	}
	return g.explainRemoval(s, g.erase(context.WithoutCancel(ctx), s))
}

// tidyShares takes away the shares of the user's own that a killed or failed
// creation or removal left: no engine's reconciler looks after them.
func (g *Gateway) tidyShares(ctx context.Context) {
	for _, s := range g.all() {
		if r := s.rec(); !r.Own() || r.Kept() || !s.op.tryLock() {
			continue
		}
		if s.rec().Kept() { // it has been made in the meantime
			s.op.unlock()
			continue
		}
		if err := g.erase(ctx, s); err != nil {
			g.log.Warn("a share is not removed yet", "share", s.id, "error", oneLine(err))
		}
		g.release(s)
	}
}

// shareView is the share as people see it.
func (g *Gateway) shareView(s *sandbox) api.Share {
	files, err := g.home.Files(s.id)
	problem := ""
	if err != nil {
		problem = oneLine(err)
	}
	v := g.view(s)
	return api.Share{ID: v.ID, Name: v.Name, Driver: v.Driver, Dir: v.Share, Target: drivers.AuthDir,
		Env: drivers.ContractEnv(),
		TTL: v.TTL, CreatedAt: v.CreatedAt, Token: v.Token, Files: sortedNames(files), Warnings: v.Warnings, Problem: problem}
}

// findSandbox is find for what only a sandbox can do.
func (g *Gateway) findSandbox(ref string) (*sandbox, error) {
	s, err := g.find(ref)
	if err != nil || !s.rec().Own() {
		return s, err
	}
	r := s.rec()
	return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("%s is a share for a container of your own, not a sandbox", r.Name),
		Hint: "its container is your engine's to start and stop; for the share see openshell-vm share --help"}
}

// findShare is find for who means a share: every sandbox has one, too.
func (g *Gateway) findShare(ref string) (*sandbox, error) {
	s, err := g.find(ref)
	var missing *api.Error
	if errors.As(err, &missing) && missing.Code == api.CodeNotFound {
		return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no share %q", ref), Hint: "openshell-vm share ls lists all"}
	}
	return s, err
}

// nameTaken is the answer to who wants a name that something else has.
func nameTaken(by *state.Record) error {
	kind, remove := "sandbox", "openshell-vm rm "
	if by.Own() {
		kind, remove = "share", "openshell-vm share rm "
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the name %q is taken by %s %s", by.Name, kind, by.ID),
		Hint: "choose another name, or remove that one: " + remove + by.Name}
}
