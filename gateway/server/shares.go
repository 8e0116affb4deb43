package server

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/roster"
)

// shareRoutes adds the routes for shares, tokens and keys.
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

// jwksPath is where issuers commonly serve their public keys. No standard fixes it.
const jwksPath = "/.well-known/jwks.json"

// inPath finds what the ref in the path names, and calls f with it.
func inPath[T any](find func(string) (T, error), f func(*http.Request, T) (any, error)) http.Handler {
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
	view.Warnings = nil // the creation's answer had them
	if line := own.Remade(); line != "" {
		view.Warnings = []string{line}
	}
	return view, nil
}

// getShare also warns of mounts that no renewal reaches: see Shares.Strays.
func (s *Server) getShare(r *http.Request, it *roster.Item) (any, error) {
	view := s.shareView(it)
	view.Warnings = append(slices.Clip(view.Warnings), s.shares.Strays(r.Context(), view.Dir)...)
	return view, nil
}

// getShares lists the shares of the user's own. Those of sandboxes are not among them: ps
// lists the sandboxes.
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

// postRotate serves sandboxes and shares of the user's own.
func (s *Server) postRotate(r *http.Request, it *roster.Item) (any, error) {
	if err := it.Rotate(r.Context()); err != nil {
		return nil, err
	}
	return s.tokenOf(it), nil
}
