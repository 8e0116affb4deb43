package api

import (
	"context"
	"encoding/json"
	"time"
)

// Issuer is who tokens say has made them, and what others need to verify them.
type Issuer struct {
	Name        string         `json:"issuer"`        // the claim iss
	URL         string         `json:"url,omitempty"` // the same if it is a URL; "" if none is configured
	TrustDomain string         `json:"trustDomain"`
	Former      []FormerIssuer `json:"former,omitempty"` // whose tokens are still good, the last one first
	PublishFor  time.Duration  `json:"publishFor"`       // ns; how long a new key is public before it signs

	Configuration json.RawMessage `json:"openidConfiguration,omitempty"` // the discovery document; none without a URL
	Keys          json.RawMessage `json:"jwks"`
	Listener      string          `json:"listener,omitempty"` // one line: where verifiers reach the gateway
	Hook          string          `json:"hook,omitempty"`     // one line: how the hook is
}

// FormerIssuer is an issuer that tokens named before.
type FormerIssuer struct {
	Name        string    `json:"issuer"`
	TrustDomain string    `json:"trustDomain"`
	Until       time.Time `json:"until"` // its last token has expired then
}

// IssuerClient is the part of a Client that is about the tokens' issuer.
type IssuerClient struct{ client *Client }

// Get returns the issuer.
func (c IssuerClient) Get(ctx context.Context) (Issuer, error) {
	return short[Issuer](ctx, c.client, "GET", "/v1/issuer", nil)
}
