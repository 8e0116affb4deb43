package api

import (
	"context"
	"net/url"
	"time"
)

// Volume is a directory that the gateway keeps, for sandboxes to write to.
type Volume struct {
	Name      string    `json:"name"`
	Dir       string    `json:"dir"` // on the host: what is mounted
	CreatedAt time.Time `json:"createdAt"`
	UsedBy    []string  `json:"usedBy,omitempty"` // names of sandboxes, also of those that do not run
}

// VolumeRequest asks for a volume.
type VolumeRequest struct {
	Name string `json:"name"`
}

// CreateVolume makes a volume. It leaves one that exists as it is.
func (c *Client) CreateVolume(ctx context.Context, r VolumeRequest) (Volume, error) {
	return short[Volume](ctx, c, "POST", "/v1/volumes", r)
}

// Volumes returns all volumes, by name.
func (c *Client) Volumes(ctx context.Context) ([]Volume, error) {
	return short[[]Volume](ctx, c, "GET", "/v1/volumes", nil)
}

// Volume returns one volume. Only its whole name names it.
func (c *Client) Volume(ctx context.Context, name string) (Volume, error) {
	return short[Volume](ctx, c, "GET", "/v1/volumes/"+url.PathEscape(name), nil)
}

// RemoveVolume deletes a volume with all that is in it. It refuses one that a sandbox uses.
func (c *Client) RemoveVolume(ctx context.Context, name string) error {
	_, err := call[struct{}](ctx, c, "DELETE", "/v1/volumes/"+url.PathEscape(name), nil)
	return err
}
