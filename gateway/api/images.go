package api

import (
	"context"
	"net/url"

	"openshell-vm/internal/vocab"
)

// Image is an image for VMs that is kept on this host.
type Image = vocab.Image

// ImageConfig is what an image's maker says of how to run it.
type ImageConfig = vocab.ImageConfig

// Freed says what was removed.
type Freed = vocab.Freed

// ImageClient is the part of a Client that is about images.
type ImageClient struct{ client *Client }

// List lists the images for VMs. Those of Docker and Podman are not among them.
func (c ImageClient) List(ctx context.Context) ([]Image, error) {
	return call[[]Image](ctx, c.client, "GET", "/v1/images", nil)
}

// Get returns one image, by a name, its ID or a unique beginning of that.
func (c ImageClient) Get(ctx context.Context, ref string) (Image, error) {
	list, err := call[[]Image](ctx, c.client, "GET", "/v1/images?ref="+url.QueryEscape(ref), nil)
	if err != nil || len(list) == 0 {
		return Image{}, err
	}
	return list[0], nil
}

// Remove takes a name away, and removes the image if that was its last one. By its ID it
// removes the image with all its names.
func (c ImageClient) Remove(ctx context.Context, ref string) (Freed, error) {
	return call[Freed](ctx, c.client, "DELETE", "/v1/images?ref="+url.QueryEscape(ref), nil)
}

// Prune removes images that have no name and no sandbox, and what was fetched and is
// not needed to run; with all, also images with a name.
func (c ImageClient) Prune(ctx context.Context, all bool) (Freed, error) {
	path := "/v1/images/prune"
	if all {
		path += "?all=1"
	}
	return call[Freed](ctx, c.client, "POST", path, nil)
}
