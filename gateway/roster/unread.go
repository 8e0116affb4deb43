package roster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
)

// Some records can't be used: they are damaged, were written by a newer gateway, or have a
// name that another record has. They are left as they are, because their sandboxes may
// still run. Their tokens are not renewed, so every list shows them.

// cantUse keeps a record that can't be used for Unread.
func (r *Roster) cantUse(id string, err error) {
	r.Log.Error("a record can't be used; its sandbox is left alone", "sandbox", id, "error", explain.Line(err))
	u := api.Unreadable{ID: id, Problem: explain.Line(err)}
	if name, own, ok := r.Home.Peek(id); ok {
		u.Name, u.Kind = name, api.KindSandbox
		if own {
			u.Kind = api.KindShare
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unreadable[id] = u
}

// Unread returns the records that can't be used, sorted by id. It leaves out those whose
// sandbox was adopted since. A kind other than "" leaves out records of the other kind.
func (r *Roster) Unread(kind string) []api.Unreadable {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := []api.Unreadable{}
	for _, id := range slices.Sorted(maps.Keys(r.unreadable)) {
		u := r.unreadable[id]
		if r.items[id] == nil && (kind == "" || u.Kind == "" || u.Kind == kind) {
			list = append(list, u)
		}
	}
	return list
}

// refuseUnread returns an error if ref is the id of a record that can't be used. The
// caller holds r.mu.
func (r *Roster) refuseUnread(ref string) error {
	u, ok := r.unreadable[ref]
	if !ok {
		return nil
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the record of %s can't be used: %s", u.ID, u.Problem),
		Hint: "mend or remove " + r.Home.SandboxDir(u.ID) + ", then: openshell-vm gateway stop; the next command starts it anew"}
}

// UnreadSandboxes returns a row for ps for each record that can't be used and is not a
// share's.
func (r *Roster) UnreadSandboxes() (rows []api.Sandbox) {
	for _, u := range r.Unread(api.KindSandbox) {
		rows = append(rows, api.Sandbox{ID: u.ID, Name: cmp.Or(u.Name, u.ID), State: api.StateUnreadable, Reason: u.Problem})
	}
	return rows
}

// UnreadShares returns a row for share ls for each record that can't be used and is not a
// sandbox's.
func (r *Roster) UnreadShares() (rows []api.Share) {
	for _, u := range r.Unread(api.KindShare) {
		rows = append(rows, api.Share{ID: u.ID, Name: cmp.Or(u.Name, u.ID), Problem: u.Problem})
	}
	return rows
}
