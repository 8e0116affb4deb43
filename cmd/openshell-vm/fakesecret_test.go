package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"openshell-vm/gateway/api"
)

// secretRoutes are the fake's for secret. A sandbox uses the secret "used". What is sent is in
// the file content.
func (f *fake) secretRoutes(mux *http.ServeMux) {
	f.secrets = map[string]api.Secret{}
	write := func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		content, _ := io.ReadAll(r.Body)
		_ = os.WriteFile(filepath.Join(f.dir, "content"), content, 0o600)
		s := api.Secret{Name: name, Size: int64(len(content)), CreatedAt: time.Now(), ChangedAt: time.Now()}
		if name == "used" {
			s.UsedBy = []string{"box"}
		}
		f.secrets[name] = s
		answer(w, s)
	}
	named := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if name := r.PathValue("name"); f.secrets[name].Name == "" {
				refuse(w, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no secret %q", name), Hint: "openshell-vm secret ls lists them"})
				return
			}
			h(w, r)
		}
	}
	mux.HandleFunc("POST /v1/secrets/{name}", write)
	mux.HandleFunc("PUT /v1/secrets/{name}", named(write))
	mux.HandleFunc("GET /v1/secrets/{name}", named(func(w http.ResponseWriter, r *http.Request) { answer(w, f.secrets[r.PathValue("name")]) }))
	mux.HandleFunc("GET /v1/secrets", func(w http.ResponseWriter, _ *http.Request) {
		list := []api.Secret{}
		for _, name := range slices.Sorted(maps.Keys(f.secrets)) {
			list = append(list, f.secrets[name])
		}
		answer(w, list)
	})
	mux.HandleFunc("DELETE /v1/secrets/{name}", named(func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if len(f.secrets[name].UsedBy) > 0 && r.URL.Query().Get("force") == "" {
			refuse(w, &api.Error{Code: api.CodeConflict, Message: "the secret used is in use by box", Hint: "openshell-vm secret rm --force used"})
			return
		}
		delete(f.secrets, name)
		answer(w, struct{}{})
	}))
}
