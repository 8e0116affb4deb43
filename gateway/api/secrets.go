package api

import (
	"context"
	"net/url"
	"time"
)

// MaxSecretSize bounds a secret's content, in bytes.
const MaxSecretSize = 1 << 20

// Secret is what is known of a secret. Nothing returns its content.
type Secret struct {
	Name      string    `json:"name"`
	Size      int64     `json:"size"` // bytes
	CreatedAt time.Time `json:"createdAt,omitzero"`
	ChangedAt time.Time `json:"changedAt,omitzero"`
	UsedBy    []string  `json:"usedBy,omitempty"`   // names of sandboxes and shares, also of those that do not run
	Problem   string    `json:"problem,omitempty"`  // one line: why it can't be read
	Warnings  []string  `json:"warnings,omitempty"` // what a change has not reached yet
}

// SecretClient is the part of a Client that is about secrets.
type SecretClient struct{ client *Client }

// Create makes a secret. It refuses a name that is taken.
func (c SecretClient) Create(ctx context.Context, name string, content []byte) (Secret, error) {
	return call[Secret](ctx, c.client, "POST", secretPath(name), raw(content))
}

// Set replaces a secret's content. It returns once all shares that show it have that.
func (c SecretClient) Set(ctx context.Context, name string, content []byte) (Secret, error) {
	return call[Secret](ctx, c.client, "PUT", secretPath(name), raw(content))
}

// List returns all secrets, by name.
func (c SecretClient) List(ctx context.Context) ([]Secret, error) {
	return call[[]Secret](ctx, c.client, "GET", "/v1/secrets", nil)
}

// Get returns one secret. Only its whole name names it.
func (c SecretClient) Get(ctx context.Context, name string) (Secret, error) {
	return call[Secret](ctx, c.client, "GET", secretPath(name), nil)
}

// Remove deletes a secret. It refuses one that something uses; with force it takes it out of
// all shares that show it.
func (c SecretClient) Remove(ctx context.Context, name string, force bool) error {
	path := secretPath(name)
	if force {
		path += "?force=1"
	}
	_, err := call[struct{}](ctx, c.client, "DELETE", path, nil)
	return err
}

func secretPath(name string) string { return "/v1/secrets/" + url.PathEscape(name) }
