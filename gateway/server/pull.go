package server

import (
	"context"
	"encoding/json"
	"net/http"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/sandbox/engines"
	"openshell-vm/gateway/server/answer"
	"openshell-vm/internal/stream"
)

// pull fetches the image of a request, with the driver that the request would get. It
// sends the engine's progress as it comes. If the engine has the image already, the answer
// has no progress.
func (s imageRoutes) pull(w http.ResponseWriter, r *http.Request) {
	var q api.CreateRequest
	err := answer.Decode(r, &q)
	var pull engines.Pull
	if err == nil {
		pull, err = s.engines.Pull(r.Context(), q, api.PullPolicy(r.URL.Query().Get("pull")))
	}
	if err != nil {
		answer.Fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	frames := stream.NewWriter(answer.Flusher(w))
	if err := forward(r.Context(), pull, frames); err != nil {
		_ = frames.Write(stream.Error, 0, api.EncodeError(explain.Error(err))) // fails only if the client has gone
		return
	}
	_ = frames.Write(stream.Exit, 0, stream.EncodeExit(0)) // the same
}

// forward pulls, and sends the progress to the client. If the client has gone, it cancels
// the pull.
func forward(ctx context.Context, pull engines.Pull, frames *stream.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return pull(ctx, func(p drivers.PullProgress) {
		data, err := json.Marshal(p)
		if err == nil {
			err = frames.Write(stream.Control, 0, data)
		}
		if err != nil {
			cancel()
		}
	})
}
