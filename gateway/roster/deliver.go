package roster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audit"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/vocab"
)

// Blame replaces an error that says that a file of the share does not exist, if the cause
// is known: the item was removed meanwhile, or is still being made. It returns any other
// error as it is.
func (it *Item) Blame(err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if gone := it.Present(); gone != nil {
		return gone
	}
	_, now := os.Lstat(it.Lease.Share().AuthDir())
	if r := it.Rec(); !r.Made || now == nil { // if it exists now, it was made since
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%s was still being made", r.Name), Hint: "try again"}
	}
	return err
}

// shareGone reports whether the directory that is mounted, auth, does not exist.
func (it *Item) shareGone() bool {
	_, err := os.Lstat(it.Lease.Share().AuthDir())
	return errors.Is(err, fs.ErrNotExist)
}

// Rotate publishes a new token now.
func (it *Item) Rotate(ctx context.Context) error {
	if err := it.Present(); err != nil {
		return err
	}
	if r := it.Rec(); r.Lost != "" {
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s has no share: %s", r.Name, r.Lost),
			Hint: "openshell-vm start makes it anew, with a fresh token"}
	}
	it.Lease.Reread()
	err := it.Deliver(ctx, nil)
	if err == nil {
		err = it.Lease.Lacks(it.Rec().Request.Tokens.Files...)
	}
	if token, _ := it.Lease.Renewal(); err == nil && token.Static && token.Problem != "" {
		err = &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the token of %s is not replaced: %s", it.Rec().Name, token.Problem),
			Hint: "put a good token into the file: it is followed; the last good one stays until then"}
	}
	return it.Blame(err)
}

// Revoke makes all tokens of the item so far invalid for this gateway, and publishes new ones. What
// others verify by the keys alone they take until it expires. If the publish fails, it is tried
// again, and the tokens stay revoked.
func (it *Item) Revoke(ctx context.Context) error {
	if err := it.Present(); err != nil {
		return err
	}
	if asked := it.Tokens(); asked.Mode == vocab.StaticToken && len(asked.Files) == 0 {
		return &api.Error{Code: api.CodeConflict,
			Message: fmt.Sprintf("the token of %s is its user's own: this gateway can't revoke it", it.Rec().Name),
			Hint:    "revoke it where it was issued, then put another one into " + asked.Static}
	}
	known, _ := it.Lease.Renewal()
	last := known.Generation
	if last == 0 { // the share could not be read since the gateway began
		last = holder{it}.Floor() - 1
	}
	if err := it.Update(func(r *state.Record) { r.RevokedGeneration = max(r.RevokedGeneration, last) }); err != nil {
		return err
	}
	it.roster.Audit.Write(audit.Event{What: audit.Revoke, Sandbox: it.ID, Name: it.Rec().Name, Generation: last})
	return it.Rotate(ctx)
}

// Deliver calls Keeper.Deliver for the item's lease. It
// waits for its sources first if something is to be started.
func (it *Item) Deliver(ctx context.Context, start func(context.Context) error) error {
	if start != nil {
		release, err := it.awaitSources(ctx)
		defer release()
		if err != nil {
			return err
		}
	}
	return it.roster.Keeper.Deliver(ctx, it.Lease, start)
}

// Begin makes the item's directory, its record and its share, with a first token. The
// record comes before the share: a gateway that finds a record without Made removes what
// was made. The caller holds Op.
func (it *Item) Begin(ctx context.Context) error {
	home := it.roster.Home
	if err := home.MakeSandboxDir(it.ID); err != nil {
		return err
	}
	if err := home.Save(it.Rec()); err != nil {
		return err
	}
	if err := it.roster.MakeShare(it.Rec()); err != nil {
		return err
	}
	release, err := it.awaitSources(ctx)
	defer release()
	if err != nil {
		return err
	}
	if err := it.Deliver(ctx, nil); err != nil {
		return err
	}
	return it.Lease.Lacks(it.Rec().Request.Tokens.Files...)
}

// Erase calls end, which removes what runs, and then removes the share and at last the
// record. If it fails or the gateway is killed, it can be repeated. A running sandbox's
// token is renewed until end has succeeded. The caller holds Op.
func (it *Item) Erase(ctx context.Context, end func(context.Context) error) error {
	it.Op.MustBeHeld()
	ctx, cancel := context.WithTimeout(ctx, EndDeadline)
	defer cancel()
	if err := it.Update(func(r *state.Record) { r.Want(state.WantGone) }); err != nil {
		// The disk may be full. A removal makes room, so it goes on.
		it.roster.Log.Warn("the wish to remove is not on disk, the removal goes on", "sandbox", it.ID, "error", explain.Line(err))
	}
	if err := end(ctx); err != nil {
		return err
	}
	if err := it.Lease.Share().Remove(ctx); err != nil {
		return err
	}
	it.Set(func() { it.Removed = true })
	if err := it.roster.Home.Forget(it.ID); err != nil {
		return err
	}
	it.roster.Drop(it)
	return nil
}

// ExplainRemoval words the error of Erase; nil stays nil. If the wish to remove is on
// record, the gateway goes on trying, and the text says so.
func (it *Item) ExplainRemoval(err error) error {
	if err == nil {
		return nil
	}
	var goesOn bool
	it.Set(func() {
		if goesOn = it.record.Desired == state.WantGone; goesOn {
			it.Problem = "it can't be removed yet: " + explain.Line(err)
		}
	})
	e := *explain.Error(err)
	e.Message = fmt.Sprintf("%s is not removed: %s", it.Rec().Name, e.Message)
	if goesOn {
		e.Hint = "the gateway goes on trying, and renews its token until then; " + e.Hint
	}
	return &e
}
