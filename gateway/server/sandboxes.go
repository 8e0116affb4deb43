package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/sandbox/inside"
	"openshell-vm/gateway/server/answer"
)

// sandboxRoutes are the requests about sandboxes that are answered in one piece.
type sandboxRoutes struct {
	fleet  *sandbox.Fleet
	roster *roster.Roster
	see    views
	ttl    func() time.Duration // for whom the request names none
}

func (s sandboxRoutes) add(mux *http.ServeMux) {
	mux.Handle("POST /v1/sandboxes", answer.JSON(s.post))
	mux.Handle("GET /v1/sandboxes", answer.JSON(s.list))
	of := func(f func(*http.Request, *sandbox.Sandbox) (any, error)) http.Handler {
		return answer.InPath(s.fleet.Find, f)
	}
	mux.Handle("GET /v1/sandboxes/{ref}", of(s.get))
	mux.Handle("DELETE /v1/sandboxes/{ref}", of(remove))
	mux.Handle("POST /v1/sandboxes/{ref}/start", of(s.start))
	mux.Handle("POST /v1/sandboxes/{ref}/stop", of(s.stop))
	mux.Handle("POST /v1/sandboxes/{ref}/rename", of(s.rename))
	mux.Handle("POST /v1/sandboxes/{ref}/update", of(s.update))
	mux.Handle("POST /v1/sandboxes/{ref}/signal", of(signal))
	mux.Handle("POST /v1/sandboxes/{ref}/launch", of(launch))
	mux.Handle("GET /v1/sandboxes/{ref}/wait", of(wait))
	mux.Handle("GET /v1/sandboxes/{ref}/usage", of(usage))
	mux.Handle("GET /v1/sandboxes/{ref}/archive/stat", of(pathStat))
}

func (s sandboxRoutes) post(r *http.Request) (any, error) {
	var q api.CreateRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	q.TTL = cmp.Or(q.TTL, s.ttl())
	box, err := s.fleet.Create(r.Context(), q)
	if err != nil {
		return nil, err
	}
	s.roster.Log.Info("created", "sandbox", box.ID, "name", box.Rec().Name, "driver", box.Rec().Driver)
	return s.see.sandbox(box), nil
}

func (s sandboxRoutes) list(r *http.Request) (any, error) {
	s.fleet.Freshen(r.Context())
	all := s.fleet.All()
	views := make([]api.Sandbox, 0, len(all))
	for _, box := range all {
		view := s.see.sandbox(box)
		view.Details = nil
		views = append(views, view)
	}
	views = append(views, s.roster.UnreadSandboxes()...)
	slices.SortFunc(views, func(a, b api.Sandbox) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return views, nil
}

func (s sandboxRoutes) get(r *http.Request, box *sandbox.Sandbox) (any, error) {
	bounded, cancel := context.WithTimeout(r.Context(), sandbox.FreshenDeadline)
	defer cancel()
	box.LookAt(bounded)
	return s.see.sandbox(box), nil
}

func remove(r *http.Request, box *sandbox.Sandbox) (any, error) {
	return struct{}{}, box.Remove(r.Context(), r.URL.Query().Get("force") != "")
}

func (s sandboxRoutes) start(r *http.Request, box *sandbox.Sandbox) (any, error) {
	if err := box.Start(r.Context()); err != nil {
		return nil, err
	}
	return s.see.sandbox(box), nil
}

func (s sandboxRoutes) stop(r *http.Request, box *sandbox.Sandbox) (any, error) {
	q := api.StopRequest{Grace: sandbox.DefaultGrace}
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	if q.Grace < 0 || q.Grace > time.Hour {
		return nil, &api.Error{Code: api.CodeInvalid,
			Message: fmt.Sprintf("a grace of %v is not allowed", q.Grace),
			Hint:    "give one between 0s and 1h"}
	}
	if err := box.Stop(r.Context(), q.Grace); err != nil {
		return nil, err
	}
	return s.see.sandbox(box), nil
}

func signal(r *http.Request, box *sandbox.Sandbox) (any, error) {
	var q api.SignalRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	if q.Signal < 1 || q.Signal > 64 {
		return nil, &api.Error{Code: api.CodeInvalid,
			Message: fmt.Sprintf("there is no signal %d", q.Signal),
			Hint:    "give a number between 1 and 64"}
	}
	return struct{}{}, inside.Signal(r.Context(), box, q.Signal)
}

func (s sandboxRoutes) rename(r *http.Request, box *sandbox.Sandbox) (any, error) {
	var q api.RenameRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	if err := box.Rename(r.Context(), q.Name); err != nil {
		return nil, err
	}
	return s.see.sandbox(box), nil
}

func (s sandboxRoutes) update(r *http.Request, box *sandbox.Sandbox) (any, error) {
	var q api.UpdateRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	now, err := box.Change(r.Context(), q)
	if err != nil {
		return nil, err
	}
	running := box.Snapshot().Status.State == drivers.Running
	return api.UpdateResult{Sandbox: s.see.sandbox(box), AtNextStart: !now && running}, nil
}

func launch(r *http.Request, box *sandbox.Sandbox) (any, error) {
	var q api.ExecRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	return inside.Launch(r.Context(), box, q.Process)
}

func pathStat(r *http.Request, box *sandbox.Sandbox) (any, error) {
	stat, err := inside.StatPath(r.Context(), box, r.URL.Query().Get("path"))
	return api.FoundPath{Stat: stat}, err
}

func wait(r *http.Request, box *sandbox.Sandbox) (any, error) { return box.Wait(r.Context()) }

func usage(r *http.Request, box *sandbox.Sandbox) (any, error) { return inside.Usage(r.Context(), box) }
