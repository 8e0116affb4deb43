package shares

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audience"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sources"
	"openshell-vm/gateway/state"
)

// Create makes a share of the user's own, with a first token. If there is one of that name
// already, Create returns it, and publishes a fresh token if the last one is due. created
// tells which.
func (s *Shares) Create(ctx context.Context, q api.ShareRequest) (own *Share, created bool, err error) {
	for range createTries {
		if own = s.named(q.Name); own != nil {
			if err = s.take(ctx, own, q); !isGone(err) {
				return own, false, err
			}
		}
		if own, err = s.makeNew(ctx, q); err == nil || s.named(q.Name) == nil {
			return own, true, err
		}
	}
	return nil, false, err
}

// makeNew makes a new share. It fails if the name is taken.
func (s *Shares) makeNew(ctx context.Context, q api.ShareRequest) (*Share, error) {
	r, err := s.record(q)
	if err != nil {
		return nil, err
	}
	own, err := s.own(r)
	if err != nil {
		return nil, err
	}
	if err := own.Op.Lock(ctx); err != nil { // free: nobody else knows the share yet
		return nil, err
	}
	defer own.Release()
	if err := s.roster.Add(own.Item); err != nil {
		return nil, err
	}
	err = own.Begin(ctx)
	if err == nil {
		err = own.Update(func(r *state.Record) { r.Made = true })
	}
	if err != nil {
		s.takeBack(context.WithoutCancel(ctx), own, "a failed creation is not taken back yet")
		return nil, err
	}
	own.Tell(api.EventCreated)
	return own, nil
}

// takeBack erases a share that was not made completely or not removed completely. If it
// fails, Tidy tries again. The caller holds Op.
func (s *Shares) takeBack(ctx context.Context, own *Share, failed string) {
	if err := own.Erase(ctx, nothingRuns); err != nil {
		s.roster.Log.Warn(failed, "share", own.ID, "error", explain.Line(err))
	}
}

// nothingRuns is for Erase: a share has no engine in which something would have to end.
func nothingRuns(context.Context) error { return nil }

// record checks a request and makes its record. The share is in the state directory, under
// its name. So its path stays the same after a reboot.
func (s *Shares) record(q api.ShareRequest) (*state.Record, error) {
	if err := state.CheckName(q.Name); err != nil {
		return nil, err
	}
	if q.TTL == 0 {
		q.TTL = s.ttl()
	}
	warning, err := explain.TTL(q.TTL, bindStaleness)
	if err != nil {
		return nil, err
	}
	if q.Tokens, err = audience.Complete(q.Tokens); err != nil {
		return nil, err
	}
	if q.Sources, err = sources.Complete(q.Sources, audience.Names(q.Tokens)); err != nil {
		return nil, err
	}
	warnings, err := audience.CheckTTL(q.Tokens, bindStaleness)
	if err != nil {
		return nil, err
	}
	r := &state.Record{Version: state.Version, ID: state.NewID(), Name: q.Name, CreatedAt: time.Now(),
		Request: state.Request{Name: q.Name, TTL: q.TTL, Tokens: q.Tokens, Sources: q.Sources}, Staleness: bindStaleness,
		Share: s.roster.Home.NamedShare(q.Name), GenerationLimit: state.GenerationStep}
	if warning != "" {
		r.Warnings = append(r.Warnings, warning)
	}
	r.Warnings = append(r.Warnings, warnings...)
	r.Want(state.WantRunning)
	if err := checkMountable(r.Share); err != nil {
		return nil, err
	}
	return r, checkFree(r.Share)
}

// checkFree refuses a share's place where something stands that is not this gateway's: an
// engine makes whatever directory it is told to mount, open to all.
func checkFree(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.IsDir() && info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return &drivers.Error{Op: "make the share " + path, Err: errors.New("something else is in its place, which no share is"),
		Hint: "remove it, then try again: a container engine makes an empty directory where it finds nothing to mount"}
}

// checkMountable refuses a path that a shell, --mount or --volume would not take as it is.
func checkMountable(path string) error {
	if !strings.ContainsAny(path, " \t\n,:;\"'\\$`*?[]{}()<>|&!#~") {
		return nil
	}
	return &drivers.Error{Op: "make a share below " + filepath.Dir(path), Err: errors.New("container tools would misread this path"),
		Hint: "choose a state directory without blanks and special characters with " + api.EnvStateDir}
}

// take uses an existing share for a request. It publishes a fresh token if the last one is
// due.
func (s *Shares) take(ctx context.Context, own *Share, q api.ShareRequest) error {
	if err := own.Acquire(ctx, roster.EndDeadline); err != nil { // another command may still be making it
		return err
	}
	defer own.Release()
	if err := own.Present(); err != nil {
		return err
	}
	r := own.Rec()
	if q.TTL != 0 && q.TTL != r.TTL() && !q.Ignore {
		return &api.Error{Code: api.CodeConflict,
			Message: fmt.Sprintf("the share %q has a token lifetime of %v, not %v", r.Name, r.TTL(), q.TTL),
			Hint:    "leave --ttl out to take it as it is, or remove it first: openshell-vm share rm " + r.Name}
	}
	if err := sameTokens(r, q); err != nil {
		return err
	}
	if err := sameSources(r, q); err != nil {
		return err
	}
	if err := own.restore(); err != nil {
		return err
	}
	if s.roster.Keeper.Fresh(own.Lease) {
		return nil
	}
	own.Lease.Reread()
	if err := own.Deliver(ctx, nil); err != nil {
		return err
	}
	return own.Lease.Startable()
}

// sameTokens refuses a request for other tokens than an existing share has.
func sameTokens(r *state.Record, q api.ShareRequest) error {
	if q.Ignore || q.Tokens.IsZero() {
		return nil
	}
	asked, err := audience.Complete(q.Tokens)
	if err != nil || reflect.DeepEqual(asked, r.Request.Tokens) {
		return err
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the share %q has other tokens than these", r.Name),
		Hint: "leave --token and what is about it out to take the share as it is; " +
			"openshell-vm token add and token drop change which it has"}
}
