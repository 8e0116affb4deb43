package api

import (
	"context"
	"time"
)

// RenameRequest gives a sandbox another name.
type RenameRequest struct {
	Name string `json:"name"`
}

// UpdateRequest changes a sandbox. What is zero or nil stays as it is.
type UpdateRequest struct {
	CPUs    float64        `json:"cpus,omitempty"`
	Memory  int64          `json:"memory,omitempty"` // bytes
	TTL     *time.Duration `json:"ttl,omitempty"`    // ns
	Restart *RestartPolicy `json:"restart,omitempty"`
}

// UpdateResult says what became of an UpdateRequest.
type UpdateResult struct {
	Sandbox Sandbox `json:"sandbox"`
	// AtNextStart means that a running sandbox has its new limits only then.
	AtNextStart bool `json:"atNextStart,omitempty"`
}

// Rename gives a sandbox another name. It fails if the name is taken.
func (c *Client) Rename(ctx context.Context, ref, name string) (Sandbox, error) {
	return call[Sandbox](ctx, c, "POST", sandboxPath(ref, "rename"), RenameRequest{Name: name})
}

// Update changes limits, lifetime and restart policy of a sandbox.
func (c *Client) Update(ctx context.Context, ref string, q UpdateRequest) (UpdateResult, error) {
	return call[UpdateResult](ctx, c, "POST", sandboxPath(ref, "update"), q)
}
