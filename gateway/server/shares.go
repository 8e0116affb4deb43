package server

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/roster"
)

// shareRoutes are the API's on shares and keys.
func (s *Server) shareRoutes(mux *http.ServeMux) {
	of := func(f func(*http.Request, *roster.Item) (any, error)) http.Handler { return inPath(s.shares.Find, f) }
	mux.Handle("POST /v1/shares", answer(s.postShare))
	mux.Handle("GET /v1/shares", answer(s.getShares))
	mux.Handle("GET /v1/shares/{ref}", of(s.getShare))
	mux.Handle("DELETE /v1/shares/{ref}", of(func(r *http.Request, it *roster.Item) (any, error) {
		return struct{}{}, s.shares.Remove(r.Context(), it, r.URL.Query().Get("force") != "")
	}))
	mux.Handle("POST /v1/shares/{ref}/files", of(s.postFiles))
	mux.Handle("GET /v1/sandboxes/{ref}/token", inPath(s.roster.Find, s.getToken))
	mux.Handle("POST /v1/sandboxes/{ref}/token/rotate", inPath(s.roster.Find, s.postRotate))

	mux.Handle("GET /v1/keys", answer(s.getKeys))
	mux.Handle("POST /v1/keys/rotate", answer(s.postRotateKeys))
	mux.Handle("DELETE /v1/keys/{kid}", answer(s.deleteKey))
	mux.HandleFunc("GET "+jwksPath, s.getJWKS)
}

// jwksPath is RFC 8414's usual place.
const jwksPath = "/.well-known/jwks.json"

// inPath resolves the ref in the path.
func inPath(find func(string) (*roster.Item, error), f func(*http.Request, *roster.Item) (any, error)) http.Handler {
	return answer(func(r *http.Request) (any, error) {
		it, err := find(r.PathValue("ref"))
		if err != nil {
			return nil, err
		}
		return f(r, it)
	})
}

func (s *Server) postShare(r *http.Request) (any, error) {
	var q api.ShareRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	own, created, err := s.shares.Create(r.Context(), q)
	if err != nil {
		return nil, err
	}
	view := s.shareView(own.Item)
	if created {
		s.log.Info("created a share for a container of the user's own", "share", own.ID, "name", own.Rec().Name)
		return view, nil
	}
	view.Warnings = nil // they were given then
	if line := own.Remade(); line != "" {
		view.Warnings = []string{line}
	}
	return view, nil
}

// getShare also looks for who has something of the share mounted that no renewal
// reaches.
func (s *Server) getShare(r *http.Request, it *roster.Item) (any, error) {
	view := s.shareView(it)
	view.Warnings = append(slices.Clip(view.Warnings), s.shares.Strays(r.Context(), view.Dir)...)
	return view, nil
}

// getShares lists those of the user's own; ps lists the others' sandboxes.
func (s *Server) getShares(*http.Request) (any, error) {
	views := []api.Share{}
	for _, own := range s.shares.All() {
		if own.Rec().Made {
			views = append(views, s.shareView(own.Item))
		}
	}
	views = append(views, s.roster.UnreadShares()...)
	slices.SortFunc(views, func(a, b api.Share) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return views, nil
}

func (s *Server) postFiles(r *http.Request, it *roster.Item) (any, error) {
	var q api.FilesRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if err := s.shares.PutFiles(r.Context(), it, q); err != nil {
		return nil, err
	}
	return s.shareView(it), nil
}

func (s *Server) getToken(_ *http.Request, it *roster.Item) (any, error) { return s.tokenOf(it), nil }

// postRotate is for a sandbox's token and for a share's.
func (s *Server) postRotate(r *http.Request, it *roster.Item) (any, error) {
	if err := it.Rotate(r.Context()); err != nil {
		return nil, err
	}
	return s.tokenOf(it), nil
}
