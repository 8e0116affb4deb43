package server

import (
	"net/http"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox/engines"
	"openshell-vm/gateway/server/answer"
)

// imageRoutes are about images.
type imageRoutes struct{ engines *engines.Engines }

func (s imageRoutes) add(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/images/pull", s.pull)
	of := func(f func(*http.Request, drivers.ImageKeeper) (any, error)) http.Handler {
		return answer.JSON(func(r *http.Request) (any, error) {
			keeper, err := s.engines.ImageKeeper()
			if err != nil {
				return nil, err
			}
			return f(r, keeper)
		})
	}
	mux.Handle("GET /v1/images", of(getImages))
	mux.Handle("DELETE /v1/images", of(func(r *http.Request, keeper drivers.ImageKeeper) (any, error) {
		return keeper.RemoveImage(r.Context(), r.URL.Query().Get("ref"))
	}))
	mux.Handle("POST /v1/images/prune", of(func(r *http.Request, keeper drivers.ImageKeeper) (any, error) {
		return keeper.PruneImages(r.Context(), r.URL.Query().Get("all") != "")
	}))
}

func getImages(r *http.Request, keeper drivers.ImageKeeper) (any, error) {
	ref := r.URL.Query().Get("ref")
	if ref == "" {
		list, err := keeper.Images(r.Context())
		return append([]api.Image{}, list...), err
	}
	image, err := keeper.Image(r.Context(), ref)
	return []api.Image{image}, err
}
