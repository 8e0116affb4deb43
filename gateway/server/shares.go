package server

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/seen"
	"openshell-vm/gateway/server/answer"
	"openshell-vm/gateway/shares"
)

// shareRoutes are about the shares of the user's own.
type shareRoutes struct {
	shares *shares.Shares
	roster *roster.Roster
	seen   *seen.Watch
	see    views
}

func (s shareRoutes) add(mux *http.ServeMux) {
	of := func(f func(*http.Request, *roster.Item) (any, error)) http.Handler {
		return answer.InPath(s.shares.Find, f)
	}
	mux.Handle("POST /v1/shares", answer.JSON(s.post))
	mux.Handle("GET /v1/shares", answer.JSON(s.list))
	mux.Handle("GET /v1/shares/{ref}", of(s.get))
	mux.Handle("DELETE /v1/shares/{ref}", of(func(r *http.Request, it *roster.Item) (any, error) {
		return struct{}{}, s.shares.Remove(r.Context(), it, r.URL.Query().Get("force") != "")
	}))
	mux.Handle("POST /v1/shares/{ref}/files", of(s.files))
	mux.Handle("POST /v1/shares/{ref}/tokens", of(s.tokens))
	mux.Handle("POST /v1/shares/{ref}/sources", of(s.sources))
	mux.Handle("POST /v1/shares/{ref}/wait", of(s.wait))
}

func (s shareRoutes) post(r *http.Request) (any, error) {
	var q api.ShareRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	own, created, err := s.shares.Create(r.Context(), q)
	if err != nil {
		return nil, err
	}
	view := s.see.share(own.Item)
	if created {
		s.roster.Log.Info("created a share for a container of the user's own", "share", own.ID, "name", own.Rec().Name)
		return view, nil
	}
	view.Warnings = nil // the creation's answer had them
	if line := own.Remade(); line != "" {
		view.Warnings = []string{line}
	}
	return view, nil
}

// get also says which sandboxes see the share, and warns of mounts that no renewal reaches: see
// Shares.Strays.
func (s shareRoutes) get(r *http.Request, it *roster.Item) (any, error) {
	view := s.see.share(it)
	if it.Rec().Own() {
		view.UsedBy = s.shares.ShownIn(view.Name)
	}
	view.Warnings = append(slices.Clip(view.Warnings), s.shares.Strays(r.Context(), view.Dir)...)
	return view, nil
}

// list lists the shares of the user's own. Those of sandboxes are not among them: ps
// lists the sandboxes.
func (s shareRoutes) list(*http.Request) (any, error) {
	views, shown := []api.Share{}, s.shares.Shown()
	for _, own := range s.shares.All() {
		if own.Rec().Made {
			view := s.see.share(own.Item)
			view.UsedBy = shown[view.Name]
			views = append(views, view)
		}
	}
	views = append(views, s.roster.UnreadShares()...)
	slices.SortFunc(views, func(a, b api.Share) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return views, nil
}

func (s shareRoutes) files(r *http.Request, it *roster.Item) (any, error) {
	var q api.FilesRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	if err := s.shares.PutFiles(r.Context(), it, q); err != nil {
		return nil, err
	}
	return s.see.share(it), nil
}

// sources changes which files of a share have sources.
func (s shareRoutes) sources(r *http.Request, it *roster.Item) (any, error) {
	var q api.SourcesRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	if err := s.shares.ChangeSources(r.Context(), it, q); err != nil {
		return nil, err
	}
	return s.see.share(it), nil
}

// tokens changes which tokens for other audiences a share has. Its warnings are about the
// change.
func (s shareRoutes) tokens(r *http.Request, it *roster.Item) (any, error) {
	var q api.TokensRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	warnings, err := s.shares.ChangeTokens(r.Context(), it, q)
	if err != nil {
		return nil, err
	}
	view := s.see.share(it)
	view.Warnings = warnings
	return view, nil
}

// wait ends with its client.
func (s shareRoutes) wait(r *http.Request, it *roster.Item) (any, error) {
	var q api.SeenRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	return s.seen.Wait(r.Context(), it, q)
}
