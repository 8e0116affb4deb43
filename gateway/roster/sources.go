package roster

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sources"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/text"
	"openshell-vm/share"
)

// sourceChanged publishes a share anew that shows other files under one of the names. What was
// found first may be what the share holds since before the gateway began.
func (r *Roster) sourceChanged(id string, names []string, files sources.Files, first bool) {
	it := r.ByID(id)
	if it == nil {
		return // it is being made, and is published when it is
	}
	if first { // else what is shown now may be about to change
		held := it.held()
		other := func(name string) bool { return !maps.EqualFunc(sources.Held(held, name), files, bytes.Equal) }
		if !slices.ContainsFunc(names, other) {
			return
		}
	}
	it.Lease.Hasten()
}

// held returns the files that the item's share holds now; none if that can't be read.
func (it *Item) held() map[string][]byte {
	last, _ := share.Read(it.Lease.Share().AuthDir())
	return last.Files
}

// held is Item.held, for an id.
func (r *Roster) held(id string) map[string][]byte {
	if it := r.ByID(id); it != nil {
		return it.held()
	}
	return nil
}

// What stands around the names in the warning of an adopted item whose share had files of which
// only the lost record knew where they come from.
const (
	filesLost  = "its record was lost, and with it where files of its share come from: they are gone, or not renewed: "
	toGiveThem = ": give them again by openshell-vm share set or share put"
)

// FilesLost is that warning.
func FilesLost(names []string) string { return filesLost + text.AtMost(names, 5) + toGiveThem }

// FilesGiven takes files out of that warning of an item, and the warning when it names none any more.
// given reports whether a file was given again, or was taken away on purpose. The error is about the
// disk.
func (it *Item) FilesGiven(given func(file string) bool) error {
	lost := func(line string) bool { return strings.HasPrefix(line, filesLost) }
	if !slices.ContainsFunc(it.Rec().Warnings, lost) {
		return nil
	}
	return it.Update(func(r *state.Record) {
		var left []string
		for _, line := range r.Warnings {
			if lost(line) {
				if line = without(line, given); line == "" {
					continue
				}
			}
			left = append(left, line)
		}
		r.Warnings = left
	})
}

// without takes files out of the warning; "" when it names none any more.
func without(line string, given func(file string) bool) string {
	names := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, filesLost), toGiveThem), ", ")
	names = slices.DeleteFunc(names, given)
	if len(names) == 0 || strings.HasPrefix(names[0], "and ") { // the others were never named
		return ""
	}
	return filesLost + strings.Join(names, ", ") + toGiveThem
}

// Republish publishes the share anew, whatever the item does. A share that is gone is no error.
func (it *Item) Republish(ctx context.Context) error {
	err := it.Deliver(ctx, nil)
	if errors.Is(err, fs.ErrNotExist) && it.shareGone() {
		return nil
	}
	return it.Blame(err)
}

// awaitSources waits until each source of the share has given something, and keeps that until
// release is called. A source that fails is an error only if the share holds nothing of it.
func (it *Item) awaitSources(ctx context.Context) (release func(), err error) {
	list := it.Rec().Request.Sources
	release, err = it.roster.Sources.Await(ctx, list)
	if err == nil {
		return release, nil
	}
	held := it.held()
	for _, s := range list {
		if sources.Held(held, s.Name) == nil {
			return release, err
		}
	}
	return release, nil
}

// Warnings are one line each: those of the record, and about the share and its files.
func (it *Item) Warnings() []string {
	r := it.Rec()
	lines := append(slices.Clip(r.Warnings), it.Lease.Warnings()...)
	return append(lines, it.roster.Sources.Problems(r.Request.Sources, time.Now())...)
}

// SourceStates are the sources of the share's files, and what is known of them.
func (it *Item) SourceStates() (list []api.SourceState) {
	for _, s := range it.Rec().Request.Sources {
		st := it.roster.Sources.State(s)
		list = append(list, api.SourceState{Source: s, MadeAt: st.MadeAt, ExpiresAt: st.ExpiresAt, NextAt: st.NextAt, Problem: st.Problem})
	}
	return list
}
