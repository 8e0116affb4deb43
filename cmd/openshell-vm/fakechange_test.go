package main

import (
	"encoding/json"
	"net/http"
	"time"

	"openshell-vm/gateway/api"
)

// What the fake does about changes and events.

func (f *fake) rename(w http.ResponseWriter, r *http.Request, s *fakeSandbox) {
	var q api.RenameRequest
	_ = json.NewDecoder(r.Body).Decode(&q)
	if other, _ := f.find(q.Name); other != nil {
		refuse(w, &api.Error{Code: api.CodeConflict, Message: "the name is taken", Hint: "choose another"})
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Name = q.Name
	answer(w, s.Sandbox)
}

func (f *fake) update(w http.ResponseWriter, r *http.Request, s *fakeSandbox) {
	var q api.UpdateRequest
	_ = json.NewDecoder(r.Body).Decode(&q)
	f.note("updated.json", q)
	answer(w, api.UpdateResult{Sandbox: s.Sandbox, AtNextStart: q.Memory > 0})
}

// events sends three, and of a follower's stream the end.
func (f *fake) events(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	for _, e := range []api.Event{
		{Time: now, Kind: "sandbox", Action: "start", ID: "aaaaaaaaaaaa", Name: "web"},
		{Time: now, Kind: "sandbox", Action: "renewed", ID: "aaaaaaaaaaaa", Name: "web", Details: map[string]string{"generation": "7"}},
		{Time: now, Kind: "sandbox", Action: "ended", ID: "bbbbbbbbbbbb", Name: "old", Details: map[string]string{"exitCode": "3", "reason": "it\x1b[2J fell"}},
	} {
		answer(w, e)
	}
}
