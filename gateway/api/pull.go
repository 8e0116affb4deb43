package api

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/url"

	"openshell-vm/internal/stream"
	"openshell-vm/internal/vocab"
)

// PullProgress is one layer's state while an image is fetched.
type PullProgress = vocab.PullProgress

// PullPolicy says when an image is fetched.
type PullPolicy = vocab.PullPolicy

// The policies.
const (
	PullMissing = vocab.PullMissing
	PullAlways  = vocab.PullAlways
	PullNever   = vocab.PullNever
)

// Pull makes sure that the engine has r's image, as the policy says. It takes the engine that
// Create would take for r. While the engine fetches the image, Pull calls report with its
// progress. Cancelling ctx ends Pull.
func (c ImageClient) Pull(ctx context.Context, r CreateRequest, policy PullPolicy, report func(PullProgress)) error {
	path := "/v1/images/pull"
	if policy != PullMissing {
		path += "?pull=" + url.QueryEscape(string(policy))
	}
	body, err := c.client.send(ctx, "POST", path, r)
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
