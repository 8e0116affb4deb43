package server

import (
	"net/http"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/sandbox/inside"
)

func (s *Server) getPathStat(r *http.Request, box *sandbox.Sandbox) (any, error) {
	stat, err := inside.StatPath(r.Context(), box, r.URL.Query().Get("path"))
	return api.FoundPath{Stat: stat}, err
}

func getArchive(r *http.Request, box *sandbox.Sandbox) (session, error) {
	run, err := inside.CopyOut(r.Context(), box, r.URL.Query().Get("path"))
	return session{run: run}, err
}

func postArchive(r *http.Request, box *sandbox.Sandbox) (session, error) {
	run, err := inside.CopyIn(r.Context(), box, r.URL.Query().Get("path"))
	return session{run: run, upgrade: true, stdin: true}, err
}

func (s *Server) postLaunch(r *http.Request, box *sandbox.Sandbox) (any, error) {
	var q api.ExecRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	return inside.Launch(r.Context(), box, q.Process)
}
