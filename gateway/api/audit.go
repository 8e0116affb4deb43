package api

import (
	"context"
	"io"
)

// Audit copies the audit log to out: one JSON object a line, the oldest that is kept first. With
// follow it goes on with what happens, until ctx ends. If the gateway ends meanwhile, the error is
// ErrStreamLost. The log's file is audit.log in the state directory; it can be read without a
// gateway, too.
func (c *Client) Audit(ctx context.Context, follow bool, out io.Writer) error {
	path := "/v1/audit"
	if follow {
		path += "?follow=1"
	}
	body, err := c.send(ctx, "GET", path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(out, body)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil || follow:
		return ErrStreamLost
	}
	return nil
}
