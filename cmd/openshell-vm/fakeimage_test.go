package main

import (
	"net/http"
	"time"

	"openshell-vm/gateway/api"
)

// imageRoutes are the fake's for images. It has one, of which a sandbox was made.
func (f *fake) imageRoutes(mux *http.ServeMux) {
	image := api.Image{ID: "sha256:0123456789abcdef0123", Names: []string{"debian:12", "oci:/layouts/debian"}, Digest: "sha256:feed",
		Pulled: time.Now().Add(-3 * time.Hour), Size: 80 << 20, Sandboxes: []string{"ltyqim4tmvog"}, Path: "/cache/root.erofs",
		Config: api.ImageConfig{Cmd: []string{"bash"}, Env: []string{"A=b"}, Ports: []string{"80/tcp"}, Labels: map[string]string{"k": "v"}}}
	mux.HandleFunc("POST /v1/images/pull", f.pull)
	mux.HandleFunc("GET /v1/images", func(w http.ResponseWriter, r *http.Request) {
		if ref := r.URL.Query().Get("ref"); ref != "" && ref != "debian:12" {
			refuse(w, &api.Error{Code: api.CodeNotFound, Message: "there is no such image here: " + ref, Hint: "image ls"})
			return
		}
		answer(w, []api.Image{image})
	})
	mux.HandleFunc("DELETE /v1/images", func(w http.ResponseWriter, r *http.Request) {
		ref := r.URL.Query().Get("ref")
		f.note("removed", ref)
		if ref == "debian:12" {
			refuse(w, &api.Error{Code: api.CodeConflict, Message: "the image is in use: made of it was ltyqim4tmvog", Hint: "rm"})
			return
		}
		answer(w, api.Freed{Images: []string{ref}})
	})
	mux.HandleFunc("POST /v1/images/prune", func(w http.ResponseWriter, r *http.Request) {
		freed := api.Freed{Bytes: 5 << 20}
		if r.URL.Query().Get("all") == "1" {
			freed.Images = []string{"debian:12"}
		}
		answer(w, freed)
	})
}
