package server

import (
	"log/slog"
	"net/http"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/server/answer"
	"openshell-vm/gateway/volumes"
)

// volumeRoutes are about volumes.
type volumeRoutes struct {
	volumes *volumes.Volumes
	log     *slog.Logger
}

func (s volumeRoutes) add(mux *http.ServeMux) {
	mux.Handle("POST /v1/volumes", answer.JSON(func(r *http.Request) (any, error) {
		var q api.VolumeRequest
		if err := answer.Decode(r, &q); err != nil {
			return nil, err
		}
		return s.volumes.Create(q.Name)
	}))
	mux.Handle("GET /v1/volumes", answer.JSON(func(*http.Request) (any, error) { return s.volumes.All() }))
	mux.Handle("GET /v1/volumes/{name}", answer.JSON(func(r *http.Request) (any, error) { return s.volumes.Get(r.PathValue("name")) }))
	mux.Handle("DELETE /v1/volumes/{name}", answer.JSON(func(r *http.Request) (any, error) {
		err := s.volumes.Remove(r.PathValue("name"))
		if err == nil {
			s.log.Info("removed a volume", "name", r.PathValue("name"))
		}
		return struct{}{}, err
	}))
}
