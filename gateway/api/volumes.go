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

// VolumeClient is the part of a Client that is about volumes.
type VolumeClient struct{ client *Client }

// Create makes a volume. It leaves one that exists as it is.
func (c VolumeClient) Create(ctx context.Context, r VolumeRequest) (Volume, error) {
	return short[Volume](ctx, c.client, "POST", "/v1/volumes", r)
}

// List returns all volumes, by name.
func (c VolumeClient) List(ctx context.Context) ([]Volume, error) {
	return short[[]Volume](ctx, c.client, "GET", "/v1/volumes", nil)
}

// Get returns one volume. Only its whole name names it.
func (c VolumeClient) Get(ctx context.Context, name string) (Volume, error) {
	return short[Volume](ctx, c.client, "GET", "/v1/volumes/"+url.PathEscape(name), nil)
}

// Remove deletes a volume with all that is in it. It refuses one that a sandbox uses.
func (c VolumeClient) Remove(ctx context.Context, name string) error {
	_, err := call[struct{}](ctx, c.client, "DELETE", "/v1/volumes/"+url.PathEscape(name), nil)
	return err
}
