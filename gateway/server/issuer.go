package server

import (
	"net/http"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/issuer"
	"openshell-vm/gateway/listener"
	"openshell-vm/gateway/server/answer"
	"openshell-vm/internal/discovery"
)

// issuerRoutes are about who tokens say has made them.
type issuerRoutes struct {
	issuer    *issuer.Issuer
	documents discovery.Handler
	own       string // the name without a URL
	listener  *listener.Listener
	hook      *issuer.Hook
}

func (s issuerRoutes) add(mux *http.ServeMux) {
	mux.Handle("GET /v1/issuer", answer.JSON(func(*http.Request) (any, error) { return s.get(time.Now()) }))
	s.documents.Register(mux)
}

func (s issuerRoutes) get(now time.Time) (api.Issuer, error) {
	documents, err := s.issuer.Documents(now)
	if err != nil {
		return api.Issuer{}, err
	}
	name := s.issuer.Name()
	view := api.Issuer{Name: s.name(name), URL: name.URL, TrustDomain: name.TrustDomain, PublishFor: s.issuer.PublishFor(),
		Configuration: documents.Configuration, Keys: documents.Keys, Listener: s.listener.Status(), Hook: s.hook.Status()}
	for _, f := range s.issuer.Former(now) {
		view.Former = append(view.Former, api.FormerIssuer{Name: s.name(f.Name), TrustDomain: f.TrustDomain, Until: f.Until})
	}
	return view, nil
}

func (s issuerRoutes) name(n issuer.Name) string {
	if n.URL == "" {
		return s.own
	}
	return n.URL
}
