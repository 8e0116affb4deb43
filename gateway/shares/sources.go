package shares

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audience"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sources"
	"openshell-vm/gateway/state"
)

// ChangeSources changes which files of any share have sources, a sandbox's too. It returns once
// each has given something and a generation with them is published. If that fails, the record is
// as it was.
func (s *Shares) ChangeSources(ctx context.Context, it *roster.Item, q api.SourcesRequest) error {
	if err := it.Acquire(ctx, roster.EndDeadline); err != nil {
		return err
	}
	defer it.Release()
	if err := it.Present(); err != nil {
		return err
	}
	before := it.Rec()
	if _, err := s.changedSources(it, before, q); err != nil {
		return err
	}
	release, err := s.roster.Sources.Await(ctx, q.Set)
	defer release()
	if err != nil {
		return err
	}
	err = it.UpdateIf(func(r *state.Record) (err error) {
		r.Request.Sources, err = s.changedSources(it, r, q) // a file of that name may have been put meanwhile
		return err
	})
	if err != nil {
		return err
	}
	err = it.Deliver(ctx, nil)
	for _, set := range q.Set {
		isOf := func(file string) bool { return sources.Of(set.Name, file) }
		if err == nil && slices.ContainsFunc(strings.Split(it.Lease.Held(), ","), isOf) {
			err = fmt.Errorf("there is no room on the disk for the file %s", set.Name)
		}
	}
	if err != nil {
		undo := it.Update(func(r *state.Record) { r.Request.Sources = before.Request.Sources })
		it.Lease.Hasten()
		if undo != nil {
			return undo
		}
		return it.Blame(err)
	}
	it.Tell(api.EventUpdated)
	return it.FilesGiven(func(file string) bool {
		isOf := func(source string) bool { return sources.Of(source, file) }
		return slices.ContainsFunc(q.Set, func(set api.Source) bool { return isOf(set.Name) }) || slices.ContainsFunc(q.Drop, isOf)
	})
}

// changedSources returns what the record is to have.
func (s *Shares) changedSources(it *roster.Item, r *state.Record, q api.SourcesRequest) ([]api.Source, error) {
	files, err := s.roster.Home.Files(it.ID)
	if err != nil {
		return nil, err
	}
	taken := slices.AppendSeq(audience.Names(r.Request.Tokens), maps.Keys(files))
	return sources.Change(r.Request.Sources, q.Set, q.Drop, taken)
}

// sameSources refuses a request for other sources than an existing share has.
func sameSources(r *state.Record, q api.ShareRequest) error {
	if q.Ignore || len(q.Sources) == 0 || reflect.DeepEqual(q.Sources, r.Request.Sources) {
		return nil
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the share %q has other sources than these", r.Name),
		Hint: "leave --file and the like out to take the share as it is; openshell-vm share set changes which it has"}
}
