package server

import (
	"net/http"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox"
)

func (s *Server) postRename(r *http.Request, box *sandbox.Sandbox) (any, error) {
	var q api.RenameRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if err := box.Rename(r.Context(), q.Name); err != nil {
		return nil, err
	}
	return s.view(box), nil
}

func (s *Server) postUpdate(r *http.Request, box *sandbox.Sandbox) (any, error) {
	var q api.UpdateRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	now, err := box.Change(r.Context(), q)
	if err != nil {
		return nil, err
	}
	running := box.Snapshot().Status.State == drivers.Running
	return api.UpdateResult{Sandbox: s.view(box), AtNextStart: !now && running}, nil
}
