package server

import (
	"net/http"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox"
)

func (s *Server) getPathStat(r *http.Request, box *sandbox.Sandbox) (any, error) {
	stat, err := box.StatPath(r.Context(), r.URL.Query().Get("path"))
	return api.FoundPath{Stat: stat}, err
}

func getArchive(r *http.Request, box *sandbox.Sandbox) (session, error) {
	run, err := box.CopyOut(r.Context(), r.URL.Query().Get("path"))
	return session{run: run}, err
}

func postArchive(r *http.Request, box *sandbox.Sandbox) (session, error) {
	run, err := box.CopyIn(r.Context(), r.URL.Query().Get("path"))
	return session{run: run, upgrade: true, stdin: true}, err
}

func (s *Server) postLaunch(r *http.Request, box *sandbox.Sandbox) (any, error) {
	var q api.ExecRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	return box.Launch(r.Context(), q.Process)
}
