package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"openshell-vm/gateway/api"
)

// volumeRoutes are the fake's for volume. A sandbox uses the volume "work".
func (f *fake) volumeRoutes(mux *http.ServeMux) {
	find := func(name string) int {
		return slices.IndexFunc(f.volumes, func(v api.Volume) bool { return v.Name == name })
	}
	mux.HandleFunc("POST /v1/volumes", func(w http.ResponseWriter, r *http.Request) {
		var q api.VolumeRequest
		_ = json.NewDecoder(r.Body).Decode(&q)
		if find(q.Name) < 0 {
			v := api.Volume{Name: q.Name, Dir: "/s/volumes/" + q.Name + "/data", CreatedAt: time.Now()}
			if q.Name == "work" {
				v.UsedBy = []string{"box"}
			}
			f.volumes = append(f.volumes, v)
		}
		answer(w, f.volumes[find(q.Name)])
	})
	mux.HandleFunc("GET /v1/volumes", func(w http.ResponseWriter, _ *http.Request) { answer(w, f.volumes) })
	named := func(h func(http.ResponseWriter, int)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			name := r.PathValue("name")
			if i := find(name); i >= 0 {
				h(w, i)
				return
			}
			refuse(w, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no volume %q", name), Hint: "openshell-vm volume ls lists them"})
		}
	}
	mux.HandleFunc("GET /v1/volumes/{name}", named(func(w http.ResponseWriter, i int) { answer(w, f.volumes[i]) }))
	mux.HandleFunc("DELETE /v1/volumes/{name}", named(func(w http.ResponseWriter, i int) {
		if users := f.volumes[i].UsedBy; len(users) > 0 {
			refuse(w, &api.Error{Code: api.CodeConflict, Message: "the volume work is in use by box", Hint: "openshell-vm rm box"})
			return
		}
		f.volumes = slices.Delete(f.volumes, i, i+1)
		answer(w, struct{}{})
	}))
}
