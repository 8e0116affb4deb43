package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/fault"
)

// A state directory can be moved while no gateway runs: records name what lies in it by its
// place there. A copy is refused while its original is there: both would have one identity
// and the same sandboxes.

// checkOriginal refuses a copy whose original is still there.
func (p Places) checkOriginal(identity api.Identity) error {
	original := identity.StateDir
	if original == "" && identity.ID != "" {
		original = p.formerState()
	}
	if original == "" || original == p.State || sameFile(original, p.State) {
		return nil
	}
	if other, err := api.ReadIdentity(original); err != nil || other.ID != identity.ID {
		return nil // the state directory was moved
	}
	return &fault.Error{Op: "use the state directory " + p.State, Err: fmt.Errorf("it is a copy of %s, which is still there", original),
		Hint: "use that one, or move it away; another gateway begins in an empty directory"}
}

// formerState returns where the state directory was, as told by the records of older
// gateways, which did not keep it elsewhere; "" if they do not tell.
func (p Places) formerState() string {
	paths, err := filepath.Glob(filepath.Join(p.Sandboxes(), "*", RecordFile))
	if err != nil {
		return ""
	}
	for _, path := range paths {
		var r Record
		data, err := api.ReadState(path)
		if err != nil || json.Unmarshal(data, &r) != nil {
			continue
		}
		if place := p.formerPlace(&r); place != "" {
			return strings.TrimSuffix(filepath.Clean(r.Share), "/"+place)
		}
	}
	return ""
}

// formerPlace returns a share's place in the state directory, for a record that has only its
// path. It is "" for a share in a runtime directory: that is named by the gateway's id.
func (p Places) formerPlace(r *Record) string {
	for _, place := range []string{filepath.Join(namedDir, r.Name), filepath.Join(sharesDir, r.ID)} {
		state, ok := strings.CutSuffix(filepath.Clean(r.Share), "/"+place)
		if ok && filepath.Base(state) != p.ID {
			return place
		}
	}
	return ""
}

// placeOf returns a path's place in the state directory; "" if it lies elsewhere.
func (p Places) placeOf(path string) string {
	place, err := filepath.Rel(p.State, path)
	if err != nil || !filepath.IsLocal(place) {
		return ""
	}
	return place
}

// settleShare finds out where a record's share lies now.
func (p Places) settleShare(r *Record) error {
	if r.Place == "" {
		r.Place = p.formerPlace(r)
	}
	if r.Place != "" {
		if !filepath.IsLocal(r.Place) {
			return errors.New("its share lies outside of the state directory")
		}
		p.noteMove(r, filepath.Join(p.State, r.Place))
	}
	if !filepath.IsAbs(r.Share) {
		return errors.New("it names no share")
	}
	return nil
}

// noteMove sets the share's new path. If it has changed, an engine may have kept the old one,
// so it adds a warning.
func (p Places) noteMove(r *Record, to string) {
	if r.Share != to && !r.Own() && !sameFile(r.Share, to) {
		r.Warnings = append(r.Warnings, "the state directory was moved here from "+strings.TrimSuffix(r.Share, "/"+r.Place)+
			": if its engine can't start it again, remove it and run it anew")
	}
	r.Share = to
}
