package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/events"
	"openshell-vm/gateway/server/answer"
	"openshell-vm/internal/text"
)

// whileFollowed is how often a follower counts as a use of the gateway.
const whileFollowed = 5 * time.Second

// inUse counts a long request as a use of the gateway, until ctx ends.
func inUse(ctx context.Context, touch func()) {
	ticker := time.NewTicker(whileFollowed)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			touch()
		case <-ctx.Done():
			return
		}
	}
}

// eventRoutes are what happens.
type eventRoutes struct {
	events *events.Log
	touch  func() // notes that the gateway is used
}

func (s eventRoutes) add(mux *http.ServeMux) { mux.HandleFunc("GET /v1/events", s.getEvents) }

// getEvents sends events, one a line. With follow it goes on until the client or the gateway
// ends.
func (s eventRoutes) getEvents(w http.ResponseWriter, r *http.Request) {
	since := time.Time{}
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			answer.Fail(w, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("%q is no time", text),
				Hint: "use RFC 3339, such as 2026-01-31T12:00:00Z"})
			return
		}
	}
	past, f := s.events.Follow(since)
	defer f.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(answer.Flusher(w))
	for _, e := range past {
		if out.Encode(clean(e)) != nil {
			return
		}
	}
	if r.URL.Query().Get("follow") == "" {
		return
	}
	_ = http.NewResponseController(w).Flush() // so that the client has its answer before anything happens
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go inUse(ctx, s.touch)
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-f.Events():
			if out.Encode(clean(e)) != nil {
				return
			}
		}
	}
}

// clean is an event for a terminal: an engine or a guest may have written its reason.
func clean(e api.Event) api.Event {
	details := make(map[string]string, len(e.Details))
	for name, value := range e.Details {
		details[name] = text.Line(value)
	}
	e.Details = details
	return e
}
