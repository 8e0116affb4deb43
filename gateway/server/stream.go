package server

import (
	"net/http"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/sandbox/inside"
	"openshell-vm/gateway/server/answer"
	"openshell-vm/internal/stream"
)

// streamRoutes are the requests about sandboxes that are answered as long as they last.
type streamRoutes struct{ fleet *sandbox.Fleet }

func (s streamRoutes) add(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/sandboxes/{ref}/logs", s.of(getLogs))
	mux.HandleFunc("POST /v1/sandboxes/{ref}/attach", s.of(postAttach))
	mux.HandleFunc("POST /v1/sandboxes/{ref}/exec", s.of(postExec))
	mux.HandleFunc("GET /v1/sandboxes/{ref}/archive", s.of(getArchive))
	mux.HandleFunc("POST /v1/sandboxes/{ref}/archive", s.of(postArchive))
}

// of makes a handler of a function that prepares a session.
func (s streamRoutes) of(prepare func(*http.Request, *sandbox.Sandbox) (session, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		box, err := s.fleet.Find(r.PathValue("ref"))
		if err != nil {
			answer.Fail(w, err)
			return
		}
		p, err := prepare(r, box)
		if err != nil {
			answer.Fail(w, err)
			return
		}
		defer box.Client()()
		if !p.upgrade {
			w.Header().Set("Content-Type", "application/octet-stream")
			p.give(r.Context(), stream.NewWriter(answer.Flusher(w)))
			return
		}
		conn, err := takeOver(w, r)
		if err != nil {
			answer.Fail(w, err)
			return
		}
		p.serve(r.Context(), conn, r.Header.Get(api.StreamHeader) == api.StreamCredit)
	}
}

func getLogs(r *http.Request, box *sandbox.Sandbox) (session, error) {
	run, err := inside.Logs(box, r.URL.Query().Get("follow") != "")
	return session{run: run}, err
}

func postAttach(r *http.Request, box *sandbox.Sandbox) (session, error) {
	run, stdin, err := inside.Attach(box, r.URL.Query().Get("replay") != "")
	return session{run: run, upgrade: true, stdin: stdin}, err
}

func postExec(r *http.Request, box *sandbox.Sandbox) (session, error) {
	var q api.ExecRequest
	if err := answer.Decode(r, &q); err != nil {
		return session{}, err
	}
	run, err := inside.Exec(r.Context(), box, q.Process)
	return session{run: run, upgrade: true, stdin: q.Stdin}, err
}

func getArchive(r *http.Request, box *sandbox.Sandbox) (session, error) {
	run, err := inside.CopyOut(r.Context(), box, r.URL.Query().Get("path"))
	return session{run: run}, err
}

func postArchive(r *http.Request, box *sandbox.Sandbox) (session, error) {
	run, err := inside.CopyIn(r.Context(), box, r.URL.Query().Get("path"))
	return session{run: run, upgrade: true, stdin: true}, err
}
