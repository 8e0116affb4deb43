package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/stream"
)

// shareRoutes are the fake's for share, keys and pull.
func (f *fake) shareRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/shares", f.createShare)
	mux.HandleFunc("GET /v1/shares", func(w http.ResponseWriter, _ *http.Request) { answer(w, f.shares) })
	mux.HandleFunc("GET /v1/keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, []api.Key{{ID: "f00f00", Algorithm: "EdDSA", State: "signing", Signs: true, CreatedAt: time.Now().Add(-time.Hour), Shares: 2},
			{ID: "ahead0", Algorithm: "ES256", State: "pending", CreatedAt: time.Now().Add(-time.Minute), SignsFrom: time.Now().Add(15*time.Minute - time.Second)},
			{ID: "0ld0ld", Algorithm: "EdDSA", State: "verifying", CreatedAt: time.Now().Add(-49 * time.Hour), RetireAt: time.Now().Add(30*time.Minute - time.Second)}})
	})
	mux.HandleFunc("POST /v1/keys/rotate", func(w http.ResponseWriter, r *http.Request) {
		var q api.RotateRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			refuse(w, &api.Error{Code: api.CodeInvalid, Message: err.Error()})
			return
		}
		if q.PublishFor != nil && *q.PublishFor > 0 {
			answer(w, api.RotateResult{KeyID: "badbad", SignsFrom: time.Now().Add(*q.PublishFor - time.Second)})
			return
		}
		answer(w, api.RotateResult{KeyID: "badbad", Republished: 2, Failed: 1})
	})
	mux.HandleFunc("DELETE /v1/keys/{kid}", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("force") != "1" {
			refuse(w, &api.Error{Code: api.CodeConflict, Message: "still held", Hint: "--force"})
			return
		}
		answer(w, api.RotateResult{KeyID: r.PathValue("kid")})
	})
	f.imageRoutes(mux)
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request, int){
		"GET /v1/shares/{ref}": func(w http.ResponseWriter, _ *http.Request, i int) { answer(w, f.shares[i]) },
		"DELETE /v1/shares/{ref}": func(w http.ResponseWriter, r *http.Request, i int) {
			if f.read("mounted") != "" && r.URL.Query().Get("force") != "1" {
				refuse(w, &api.Error{Code: api.CodeConflict, Message: "the share is in use", Hint: "--force"})
				return
			}
			f.shares = slices.Delete(f.shares, i, i+1)
			answer(w, struct{}{})
		},
		"POST /v1/shares/{ref}/files": func(w http.ResponseWriter, r *http.Request, i int) {
			var q api.FilesRequest
			_ = json.NewDecoder(r.Body).Decode(&q)
			f.note("files.json", q)
			f.shares[i].Files = slices.Sorted(maps.Keys(q.Files))
			f.shares[i].Token.Generation++
			answer(w, f.shares[i])
		},
		"POST /v1/shares/{ref}/wait": func(w http.ResponseWriter, r *http.Request, i int) {
			var q api.SeenRequest
			_ = json.NewDecoder(r.Body).Decode(&q)
			f.note("wait.json", q)
			if f.read("unseen") != "" {
				refuse(w, &api.Error{Code: api.CodeNotSeen, Message: "agent does not see it", Hint: "wait"})
				return
			}
			answer(w, api.SeenResult{Generation: cmp.Or(q.Generation, f.shares[i].Token.Generation), Seen: true})
		},
		"POST /v1/shares/{ref}/tokens": func(w http.ResponseWriter, r *http.Request, i int) {
			var q api.TokensRequest
			_ = json.NewDecoder(r.Body).Decode(&q)
			f.note("tokens.json", q)
			for _, t := range q.Add {
				t.File = cmp.Or(t.File, "made.jwt")
				f.shares[i].Tokens.Files = append(f.shares[i].Tokens.Files, t)
			}
			answered := f.shares[i]
			if len(q.Add) > 0 && q.Add[0].Preset != "" {
				answered.Warnings = []string{"its environment is fixed"}
			}
			answer(w, answered)
		},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			i := slices.IndexFunc(f.shares, func(s api.Share) bool { return s.Name == r.PathValue("ref") || s.ID == r.PathValue("ref") })
			if i < 0 {
				refuse(w, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("no share is called %q", r.PathValue("ref"))})
				return
			}
			h(w, r, i)
		})
	}
}

func (f *fake) createShare(w http.ResponseWriter, r *http.Request) {
	var q api.ShareRequest
	_ = json.NewDecoder(r.Body).Decode(&q)
	f.note("share.json", q)
	if len(f.shares) > 0 && q.TTL != 0 && !q.Ignore {
		refuse(w, &api.Error{Code: api.CodeConflict, Message: "it has another lifetime", Hint: "leave it out"})
		return
	}
	if len(f.shares) == 0 {
		f.shares = []api.Share{{ID: "eeeeeeeeeeee", Name: q.Name, Dir: "/s/named/agent/auth", Target: "/auth",
			Env: []string{"A=b", "C=d"}, TTL: time.Hour,
			Token: api.Token{Generation: 7, ExpiresAt: time.Now().Add(time.Hour - 5*time.Second)}}}
	}
	answer(w, f.shares[0])
}

// pull has "local", fetches "remote", and knows no other image.
func (f *fake) pull(w http.ResponseWriter, r *http.Request) {
	var c api.CreateRequest
	_ = json.NewDecoder(r.Body).Decode(&c)
	frames := stream.NewWriter(w)
	tell := func(p api.PullProgress) {
		text, _ := json.Marshal(p)
		_ = frames.Write(stream.Control, 0, text)
	}
	if policy := r.URL.Query().Get("pull"); policy != "" {
		f.note("policy", policy)
	}
	switch c.Image {
	case "remote":
		tell(api.PullProgress{Status: "Pulling from remote"})
		for _, n := range []int64{1, 5, 9} {
			tell(api.PullProgress{Layer: "abc", Status: "Downloading", Current: n << 20, Total: 10 << 20})
		}
		tell(api.PullProgress{Layer: "abc", Status: "Pull complete"})
	case "slow":
		tell(api.PullProgress{Layer: "abc", Status: "Downloading", Current: 5 << 20, Total: 10 << 20})
		if rc := http.NewResponseController(w); rc.Flush() == nil {
			time.Sleep(3 * say.ProgressAfter) // the bar shows what takes long
		}
	case "local":
	default:
		_ = frames.Write(stream.Error, 0, api.EncodeError(&api.Error{Code: api.CodeDriver,
			Message: strings.TrimSpace("fetch image " + c.Image + ": the registry has no such image"), Hint: "check the name"}))
		return
	}
	_ = frames.Write(stream.Exit, 0, stream.EncodeExit(0))
}
