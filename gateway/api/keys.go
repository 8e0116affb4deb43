package api

import (
	"context"
	"net/url"
	"time"
)

// Key is what is public about a signing key.
type Key struct {
	ID        string    `json:"kid"`
	Signs     bool      `json:"signs"` // it signs new tokens; the others only verify
	CreatedAt time.Time `json:"createdAt"`
	RetireAt  time.Time `json:"retireAt,omitzero"` // from then on it verifies nothing
	Shares    int       `json:"shares"`            // number of shares with a token that it signed
}

// RotateResult says what became of the shares when a key was made or retired. The numbers
// count shares.
type RotateResult struct {
	KeyID       string `json:"kid"` // the new key, or the retired one
	Republished int    `json:"republished"`
	Failed      int    `json:"failed,omitempty"`  // the gateway tries them again
	Waiting     int    `json:"waiting,omitempty"` // they had no turn yet, or hang
}

// KeyClient is the part of a Client that is about the keys that sign tokens.
type KeyClient struct{ client *Client }

// List lists the signing key, then those that still verify, newest first.
func (c KeyClient) List(ctx context.Context) ([]Key, error) {
	return short[[]Key](ctx, c.client, "GET", "/v1/keys", nil)
}

// Rotate makes a new signing key. It returns once every share holds a token of that
// key, or has failed to get one.
func (c KeyClient) Rotate(ctx context.Context) (RotateResult, error) {
	return call[RotateResult](ctx, c.client, "POST", "/v1/keys/rotate", nil)
}

// Retire makes a key invalid at once. kid is its id, or a unique beginning of it. If
// shares hold tokens of the key, it needs force.
func (c KeyClient) Retire(ctx context.Context, kid string, force bool) (RotateResult, error) {
	path := "/v1/keys/" + url.PathEscape(kid)
	if force {
		path += "?force=1"
	}
	return call[RotateResult](ctx, c.client, "DELETE", path, nil)
}
