package server

import (
	"net/http"

	"openshell-vm/gateway/api"
)

// volumeRoutes adds the routes for volumes.
func (s *Server) volumeRoutes(mux *http.ServeMux) {
	mux.Handle("POST /v1/volumes", answer(func(r *http.Request) (any, error) {
		var q api.VolumeRequest
		if err := decode(r, &q); err != nil {
			return nil, err
		}
		return s.volumes.Create(q.Name)
	}))
	mux.Handle("GET /v1/volumes", answer(func(*http.Request) (any, error) { return s.volumes.All() }))
	mux.Handle("GET /v1/volumes/{name}", answer(func(r *http.Request) (any, error) { return s.volumes.Get(r.PathValue("name")) }))
	mux.Handle("DELETE /v1/volumes/{name}", answer(func(r *http.Request) (any, error) {
		err := s.volumes.Remove(r.PathValue("name"))
		if err == nil {
			s.log.Info("removed a volume", "name", r.PathValue("name"))
		}
		return struct{}{}, err
	}))
}
