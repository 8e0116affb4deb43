package gateway

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"openshell-vm/gateway/api"
)

// shareRoutes are the API's on shares and keys.
func (g *Gateway) shareRoutes(mux *http.ServeMux) {
	of := func(f func(*http.Request, *sandbox) (any, error)) http.Handler { return inPath(g.findShare, f) }
	mux.Handle("POST /v1/shares", answer(g.postShare))
	mux.Handle("GET /v1/shares", answer(g.getShares))
	mux.Handle("GET /v1/shares/{ref}", of(g.getShare))
	mux.Handle("DELETE /v1/shares/{ref}", of(func(r *http.Request, s *sandbox) (any, error) {
		return struct{}{}, g.removeShare(r.Context(), s, r.URL.Query().Get("force") != "")
	}))
	mux.Handle("POST /v1/shares/{ref}/files", of(g.postFiles))
	mux.Handle("GET /v1/sandboxes/{ref}/token", inPath(g.find, func(_ *http.Request, s *sandbox) (any, error) { return g.view(s).Token, nil }))
	mux.Handle("POST /v1/sandboxes/{ref}/token/rotate", inPath(g.find, g.postRotate))

	mux.Handle("GET /v1/keys", answer(g.getKeys))
	mux.Handle("POST /v1/keys/rotate", answer(g.postRotateKeys))
	mux.Handle("DELETE /v1/keys/{kid}", answer(g.deleteKey))
	mux.HandleFunc("GET "+jwksPath, g.getJWKS)
}

// jwksPath is RFC 8414's usual place.
const jwksPath = "/.well-known/jwks.json"

// inPath resolves the ref in the path.
func inPath(find func(string) (*sandbox, error), f func(*http.Request, *sandbox) (any, error)) http.Handler {
	return answer(func(r *http.Request) (any, error) {
		s, err := find(r.PathValue("ref"))
		if err != nil {
			return nil, err
		}
		return f(r, s)
	})
}

func (g *Gateway) postShare(r *http.Request) (any, error) {
	var q api.ShareRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	s, created, err := g.createShare(r.Context(), q)
	if err != nil {
		return nil, err
	}
	view := g.shareView(s)
	if !created {
		view.Warnings = nil // they were given then
		s.set(func() {
			if line := s.warnings[remade]; line != "" {
				view.Warnings = []string{line}
			}
		})
		return view, nil
	}
	g.log.Info("created a share for a container of the user's own", "share", s.id, "name", s.rec().Name)
	return view, nil
}

// getShare also looks for who has something of the share mounted that no renewal
// reaches.
func (g *Gateway) getShare(r *http.Request, s *sandbox) (any, error) {
	view := g.shareView(s)
	view.Warnings = append(slices.Clip(view.Warnings), g.strays(r.Context(), view.Dir)...)
	return view, nil
}

// getShares lists those of the user's own; ps lists the others' sandboxes.
func (g *Gateway) getShares(*http.Request) (any, error) {
	views := []api.Share{}
	for _, s := range g.all() {
		if r := s.rec(); !r.Own() || !r.Made {
			continue
		}
		views = append(views, g.shareView(s))
	}
	views = append(views, g.unreadShares()...)
	slices.SortFunc(views, func(a, b api.Share) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return views, nil
}

func (g *Gateway) postFiles(r *http.Request, s *sandbox) (any, error) {
	var q api.FilesRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if err := g.putFiles(r.Context(), s, q); err != nil {
		return nil, err
	}
	return g.shareView(s), nil
}
