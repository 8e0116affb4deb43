package roster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
)

// A record that can't be used, because it is damaged, of a newer gateway, or of a
// name that another has, is left as it is: its sandbox may still run. Its token
// is not renewed, so it is shown wherever somebody looks.

// cantUse notes it.
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

// Unread are the records that can't be used, but for those whose sandbox was
// taken in from its engine since. kind narrows them to what may be of it.
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

// refuseUnread is the answer to who asks for one by its id; nil if ref is of none.
// The caller holds r.mu.
func (r *Roster) refuseUnread(ref string) error {
	u, ok := r.unreadable[ref]
	if !ok {
		return nil
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the record of %s can't be used: %s", u.ID, u.Problem),
		Hint: "mend or remove " + r.Home.SandboxDir(u.ID) + ", then: openshell-vm gateway stop; the next command starts it anew"}
}

// UnreadSandboxes and UnreadShares are rows for the lists.
func (r *Roster) UnreadSandboxes() (rows []api.Sandbox) {
	for _, u := range r.Unread(api.KindSandbox) {
		rows = append(rows, api.Sandbox{ID: u.ID, Name: cmp.Or(u.Name, u.ID), State: api.StateUnreadable, Reason: u.Problem})
	}
	return rows
}

func (r *Roster) UnreadShares() (rows []api.Share) {
	for _, u := range r.Unread(api.KindShare) {
		rows = append(rows, api.Share{ID: u.ID, Name: cmp.Or(u.Name, u.ID), Problem: u.Problem})
	}
	return rows
}
