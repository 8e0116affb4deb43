package server

import (
	"context"
	"net/http"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/config"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/server/answer"
)

// configRoutes are about the gateway's settings.
type configRoutes struct {
	config *config.Live
	reload func(context.Context) (api.Reloaded, error)
}

func (s configRoutes) add(mux *http.ServeMux) {
	mux.Handle("GET /v1/config", answer.JSON(func(*http.Request) (any, error) { return s.get(), nil }))
	mux.Handle("POST /v1/config/reload", answer.JSON(func(r *http.Request) (any, error) { return s.reload(r.Context()) }))
}

func (s configRoutes) get() api.Config {
	now := s.config.Now()
	view := api.Config{File: now.File, Settings: Settings(now.Settings()), Warnings: s.config.Warnings(),
		Pending: Settings(s.config.Pending())}
	if problem := s.config.Problem(); problem != nil {
		e := explain.Error(problem)
		view.Problem, view.Hint = e.Message, e.Hint
	}
	return view
}

// Settings makes the API's form of settings.
func Settings(list []config.Setting) []api.Setting {
	views := []api.Setting{}
	for _, s := range list {
		views = append(views, api.Setting{Name: s.Name, Value: s.Value, Origin: s.Origin, Restart: s.Once})
	}
	return views
}
