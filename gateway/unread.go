package gateway

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"openshell-vm/gateway/api"
)

// A record that can't be used, because it is damaged, of a newer gateway, or of a
// name that another has, is left as it is: its sandbox may still run. Its token
// is not renewed, so it is shown wherever somebody looks.

// cantUse notes it.
func (g *Gateway) cantUse(id string, err error) {
	g.log.Error("a record can't be used; its sandbox is left alone", "sandbox", id, "error", oneLine(err))
	u := api.Unreadable{ID: id, Problem: oneLine(err)}
	if name, own, ok := g.home.Peek(id); ok {
		u.Name, u.Kind = name, api.KindSandbox
		if own {
			u.Kind = api.KindShare
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unreadable[id] = u
}

// unread are the records that can't be used, but for those whose sandbox was
// taken in from its engine since. kind narrows them to what may be of it.
func (g *Gateway) unread(kind string) []api.Unreadable {
	g.mu.RLock()
	defer g.mu.RUnlock()
	list := []api.Unreadable{}
	for _, id := range slices.Sorted(maps.Keys(g.unreadable)) {
		u := g.unreadable[id]
		if g.sandboxes[id] == nil && (kind == "" || u.Kind == "" || u.Kind == kind) {
			list = append(list, u)
		}
	}
	return list
}

// refuseUnread is the answer to who asks for one by its id; nil if ref is of none.
// The caller holds g.mu.
func (g *Gateway) refuseUnread(ref string) error {
	u, ok := g.unreadable[ref]
	if !ok {
		return nil
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the record of %s can't be used: %s", u.ID, u.Problem),
		Hint: "mend or remove " + g.home.SandboxDir(u.ID) + ", then: openshell-vm gateway stop; the next command starts it anew"}
}

// unreadSandboxes and unreadShares are rows for the lists.
func (g *Gateway) unreadSandboxes() (rows []api.Sandbox) {
	for _, u := range g.unread(api.KindSandbox) {
		rows = append(rows, api.Sandbox{ID: u.ID, Name: cmp.Or(u.Name, u.ID), State: api.StateUnreadable, Reason: u.Problem})
	}
	return rows
}

func (g *Gateway) unreadShares() (rows []api.Share) {
	for _, u := range g.unread(api.KindShare) {
		rows = append(rows, api.Share{ID: u.ID, Name: cmp.Or(u.Name, u.ID), Problem: u.Problem})
	}
	return rows
}
