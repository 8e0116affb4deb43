package shares

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audience"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/presets"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sources"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/vocab"
	"openshell-vm/share"
)

// ChangeTokens changes which tokens for other audiences any share has, a sandbox's too. It
// returns once a generation with them is published. If that fails, the record is as it was.
// warnings are one line each.
func (s *Shares) ChangeTokens(ctx context.Context, it *roster.Item, q api.TokensRequest) (warnings []string, err error) {
	if err := it.Acquire(ctx, roster.EndDeadline); err != nil {
		return nil, err
	}
	defer it.Release()
	if err := it.Present(); err != nil {
		return nil, err
	}
	if r := it.Rec(); r.Lost != "" {
		return nil, &api.Error{Code: api.CodeConflict, Message: "sandbox " + r.Name + " has no share: " + r.Lost,
			Hint: "openshell-vm start makes it anew"}
	}
	before := it.Rec()
	err = it.UpdateIf(func(r *state.Record) (err error) {
		r.Request.Tokens, warnings, err = s.changed(it, r, q)
		r.Warnings = append(withoutDropped(r.Warnings, before.Request.Tokens, r.Request.Tokens), warnings...)
		return err
	})
	if err != nil {
		return nil, err
	}
	now := it.Rec().Request.Tokens.Files
	err = it.Deliver(ctx, nil)
	if err == nil {
		err = it.Lease.Lacks(now[len(now)-len(q.Add):]...)
	}
	if err != nil {
		return nil, it.Blame(s.undo(it, before, err))
	}
	it.Tell(api.EventUpdated)
	if own, ok := it.Owner.(*Share); !ok || own == nil {
		warnings = append(warnings, unset(q, it.Target())...)
	}
	return warnings, nil
}

// changed returns what the record is to have. The caller holds the item's saving lock.
func (s *Shares) changed(it *roster.Item, r *state.Record, q api.TokensRequest) (t vocab.Tokens, warnings []string, err error) {
	if t, err = audience.Drop(r.Request.Tokens, q.Drop); err != nil {
		return t, nil, err
	}
	if t, err = audience.Add(t, q.Add); err != nil {
		return t, nil, err
	}
	files, err := Files(s.roster.Home, it.Lease).Last() // those of before, if the stored ones are damaged: these are published
	if err != nil && files == nil {
		return t, nil, err
	}
	if err := audience.CheckBeside(t, maps.Keys(files)); err != nil {
		return t, nil, err
	}
	if _, err := sources.Complete(r.Request.Sources, audience.Names(t)); err != nil {
		return t, nil, err
	}
	added := vocab.Tokens{Files: t.Files[len(t.Files)-len(q.Add):]}
	warnings, err = audience.CheckTTL(added, r.Staleness)
	return t, warnings, err
}

// withoutDropped returns the warnings that are not about files that were dropped.
func withoutDropped(warnings []string, before, now vocab.Tokens) []string {
	left := audience.Names(now)
	return slices.DeleteFunc(slices.Clone(warnings), func(w string) bool {
		return slices.ContainsFunc(audience.Names(before), func(name string) bool {
			return strings.HasPrefix(w, name+": ") && !slices.Contains(left, name)
		})
	})
}

// undo takes a change back whose publish failed. The share may have been published with it
// all the same, by a renewal: then it is published once more.
func (s *Shares) undo(it *roster.Item, before *state.Record, cause error) error {
	err := it.Update(func(r *state.Record) { r.Request.Tokens, r.Warnings = before.Request.Tokens, before.Warnings })
	it.Lease.Hasten()
	return errors.Join(cause, err)
}

// unset says which variables of a preset a sandbox that exists already does not have.
func unset(q api.TokensRequest, dir string) []string {
	var env []string
	for _, f := range q.Add {
		if f, err := presets.Expand(f); err == nil {
			env = append(env, presets.Env(vocab.Tokens{Files: []vocab.TokenFile{f}}, dir)...)
		}
	}
	if len(env) == 0 {
		return nil
	}
	return []string{"the environment of a sandbox that exists can't be changed: give its programs " + strings.Join(env, " ")}
}

// PresetFiles returns the source of what presets publish beside a lease's tokens, for who sees
// the share at dir.
func PresetFiles(l *lease.Lease, dir string) lease.Source { return presetFiles{l, dir} }

type presetFiles struct {
	lease *lease.Lease
	dir   string
}

func (p presetFiles) Files(uint64) ([]share.File, error) {
	files := []share.File{} // none is no failure
	for _, f := range p.lease.Tokens().Files {
		for _, further := range presets.Files(f, p.dir) {
			files = append(files, share.File{Name: further.Name, Data: further.Data})
		}
	}
	return files, nil
}

// Due returns zero, never: what presets publish follows from the record.
func (p presetFiles) Due() time.Time { return time.Time{} }
