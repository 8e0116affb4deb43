package api

import "context"

// TokenClient is the part of a Client that is about the tokens of sandboxes and shares.
type TokenClient struct{ client *Client }

// Get returns what is known of a sandbox's token, but not the token itself.
func (c TokenClient) Get(ctx context.Context, ref string) (Token, error) {
	return short[Token](ctx, c.client, "GET", sandboxPath(ref, "token"), nil)
}

// Rotate publishes a new token now. It returns once the token is on disk.
func (c TokenClient) Rotate(ctx context.Context, ref string) (Token, error) {
	return call[Token](ctx, c.client, "POST", sandboxPath(ref, "token", "rotate"), nil)
}

// Revoke makes all tokens of a sandbox or share so far invalid for this gateway, and publishes new
// ones. Others, who verify by the keys alone, take the old ones until they expire.
func (c TokenClient) Revoke(ctx context.Context, ref string) (Token, error) {
	return call[Token](ctx, c.client, "POST", sandboxPath(ref, "token", "revoke"), nil)
}

// Verify asks whether a token is good at this moment. A bad token is not
// an error: see VerifyResult.Valid.
func (c TokenClient) Verify(ctx context.Context, r VerifyRequest) (VerifyResult, error) {
	return short[VerifyResult](ctx, c.client, "POST", "/v1/token/verify", r)
}

// TokensRequest changes which tokens for other audiences a share has.
type TokensRequest struct {
	Add  []TokenFile `json:"add,omitempty"`
	Drop []string    `json:"drop,omitempty"` // each the name of a file, or the audience of one
}

// Change changes which tokens for other audiences a sandbox or a share has. It returns once a
// generation with them is published.
func (c TokenClient) Change(ctx context.Context, ref string, r TokensRequest) (Share, error) {
	return call[Share](ctx, c.client, "POST", sharePath(ref, "tokens"), r)
}
