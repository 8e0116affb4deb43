package api

import (
	"bufio"
	"context"
	"encoding/json"
	"io"

	"openshell-vm/internal/stream"
	"openshell-vm/internal/vocab"
)

// PullProgress is one layer's state while an image is fetched.
type PullProgress = vocab.PullProgress

// Pull makes sure that the engine has r's image. It takes the engine that Create would take
// for r. While the engine fetches the image, Pull calls report with its progress. Cancelling
// ctx ends Pull.
func (c *Client) Pull(ctx context.Context, r CreateRequest, report func(PullProgress)) error {
	body, err := c.send(ctx, "POST", "/v1/images/pull", r)
	if err != nil {
		return err
	}
	defer body.Close()
	frames := stream.NewReader(bufio.NewReader(body))
	for {
		frame, err := frames.Read()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return &Error{Code: CodeInternal, Message: "the gateway ended while the image was fetched", Hint: "try again"}
		case err != nil:
			return err
		case frame.Kind == stream.Exit:
			return nil
		case frame.Kind == stream.Error:
			return DecodeError(frame.Payload)
		}
		var p PullProgress
		if frame.Kind == stream.Control && json.Unmarshal(frame.Payload, &p) == nil {
			report(p)
		}
	}
}
