package api

import (
	"context"
	"net/url"
	"time"
)

// Key is what is public about a signing key.
type Key struct {
	ID        string    `json:"kid"`
	Algorithm string    `json:"alg"`
	State     string    `json:"state"` // pending: it is published and signs later; signing; verifying
	Signs     bool      `json:"signs"` // whether State is signing
	CreatedAt time.Time `json:"createdAt"`
	SignsFrom time.Time `json:"signsFrom,omitzero"` // when a pending key begins to sign
	// Unpublished: a pending key that the hook has not published. It does not sign before.
	Unpublished bool      `json:"unpublished,omitempty"`
	RetireAt    time.Time `json:"retireAt,omitzero"` // from then on it verifies nothing
	Shares      int       `json:"shares"`            // number of shares with a token that it signed
}

// RotateResult says what became of the shares when a key was made or retired. The numbers
// count shares.
type RotateResult struct {
	KeyID       string    `json:"kid"`                // the new key, or the retired one; of several new ones that for sandbox.jwt
	SignsFrom   time.Time `json:"signsFrom,omitzero"` // when the new keys sign; absent if they do
	Republished int       `json:"republished"`
	Failed      int       `json:"failed,omitempty"`  // the gateway tries them again
	Waiting     int       `json:"waiting,omitempty"` // they had no turn yet, or hang
}

// RotateRequest says how new keys come into use.
type RotateRequest struct {
	// PublishFor is how long they are published before they sign; 0 for not at all, nil for
	// the gateway's own choice.
	PublishFor *time.Duration `json:"publishFor,omitempty"`
}

// KeyClient is the part of a Client that is about the keys that sign tokens.
type KeyClient struct{ client *Client }

// List lists the keys that sign, then those that will, then those that still verify.
func (c KeyClient) List(ctx context.Context) ([]Key, error) {
	return short[[]Key](ctx, c.client, "GET", "/v1/keys", nil)
}

// Rotate makes a new key of each kind. If they sign at once, it returns once every share
// holds tokens of these keys, or has failed to get one.
func (c KeyClient) Rotate(ctx context.Context, q RotateRequest) (RotateResult, error) {
	return call[RotateResult](ctx, c.client, "POST", "/v1/keys/rotate", q)
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
