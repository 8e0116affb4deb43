package api

import (
	"context"

	"openshell-vm/internal/vocab"
)

// Usage is what a running sandbox uses, as the host counts it.
type Usage = vocab.Usage

// Usage tells what a running sandbox uses at this moment.
func (c *Client) Usage(ctx context.Context, ref string) (Usage, error) {
	return call[Usage](ctx, c, "GET", sandboxPath(ref, "usage"), nil)
}
