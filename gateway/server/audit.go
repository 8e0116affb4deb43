package server

import (
	"context"
	"net/http"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audit"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/server/answer"
)

// auditRoutes show what was done with tokens and keys.
type auditRoutes struct {
	audit *audit.Log
	touch func() // notes that the gateway is used
}

func (s auditRoutes) add(mux *http.ServeMux) { mux.HandleFunc("GET /v1/audit", s.get) }

// get sends the log as it is on disk. With follow it goes on until the client or the gateway
// ends.
func (s auditRoutes) get(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	follow := r.URL.Query().Get("follow") != ""
	if follow {
		go inUse(ctx, s.touch)
	}
	out, begun := answer.Flusher(w), false
	err := s.audit.Copy(ctx, follow, func(lines []byte) error {
		if !begun {
			w.Header().Set("Content-Type", "application/x-ndjson")
		}
		begun = true
		_, err := out.Write(lines)
		return err
	})
	if err != nil && !begun && ctx.Err() == nil {
		answer.Fail(w, &api.Error{Code: api.CodeInternal, Message: "the audit log can't be read: " + explain.Line(err),
			Hint: "free space on the state directory's disk, or see the gateway's log"})
	}
}
