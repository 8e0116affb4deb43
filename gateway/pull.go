package gateway

import (
	"context"
	"encoding/json"
	"net/http"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/stream"
)

// postPull fetches the image that a sandbox of this request would have, with
// the driver that it would get. Nothing is sent while there is nothing to
// fetch; what the engine reports is sent as it comes.
func (g *Gateway) postPull(w http.ResponseWriter, r *http.Request) {
	var q api.CreateRequest
	err := decode(r, &q)
	if err == nil {
		err = checkRequest(&q)
	}
	var driver drivers.Driver
	if err == nil {
		driver, err = g.choose(r.Context(), q)
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	frames := stream.NewWriter(flusher{w, http.NewResponseController(w)})
	if err := pull(r.Context(), driver, q.Image, frames); err != nil {
		_ = frames.Write(stream.Error, 0, api.EncodeError(explain(err))) // a client that has gone needs none
		return
	}
	_ = frames.Write(stream.Exit, 0, stream.EncodeExit(0)) // nor this
}

// pull fetches an image if the driver can: whether it takes one at all is for
// Resolve to say. A client that has gone ends it.
func pull(ctx context.Context, driver drivers.Driver, image string, frames *stream.Writer) error {
	puller, ok := driver.(drivers.Puller)
	if !ok || image == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return puller.Pull(ctx, image, func(p drivers.PullProgress) {
		data, err := json.Marshal(p)
		if err == nil {
			err = frames.Write(stream.Control, 0, data)
		}
		if err != nil {
			cancel()
		}
	})
}
