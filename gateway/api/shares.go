package api

import (
	"context"
	"net/url"
	"strings"
	"time"

	"openshell-vm/internal/vocab"
)

// ShareRequest asks for a share for a container of the user's own.
type ShareRequest struct {
	Name   string        `json:"name"`
	TTL    time.Duration `json:"ttl,omitempty"`    // token lifetime, ns; 0 for the default of 1 h
	Ignore bool          `json:"ignore,omitempty"` // ignore TTL, Tokens and Sources if the share exists already with others

	Tokens  Tokens   `json:"tokens,omitzero"`
	Sources []Source `json:"sources,omitempty"`
}

// ShownShare is a share of the user's own that a sandbox sees, read-only.
type ShownShare = vocab.ShownShare

// SharesDir is where a sandbox sees a share for which no Target is given, by its name.
const SharesDir = "/etc/openshell/shares"

// MaxShares bounds the shares of the user's own that a sandbox sees.
const MaxShares = 32

// SeenShare is a ShownShare, and what is known of what the sandbox sees of it while it runs.
type SeenShare struct {
	ShownShare
	Generation     uint64 `json:"generation,omitempty"`     // that is published
	SeenGeneration uint64 `json:"seenGeneration,omitempty"` // the newest that the sandbox is known to have seen

	Seen
}

// Share is one share as people see it.
type Share struct {
	ID        string        `json:"id"`
	Name      string        `json:"name"`
	Driver    string        `json:"driver,omitempty"` // of the share's sandbox; "" for a share of the user's own
	Dir       string        `json:"dir"`              // the host directory to mount, read-only
	Target    string        `json:"target"`           // where a sandbox sees it
	Env       []string      `json:"env"`              // K=V for the programs inside; no secret
	TTL       time.Duration `json:"ttl"`
	CreatedAt time.Time     `json:"createdAt"`
	AuthMode  AuthMode      `json:"authMode"` // never ""
	Token     Token         `json:"token"`
	Tokens    Tokens        `json:"tokens,omitzero"`
	Sources   []SourceState `json:"sources,omitempty"`
	Files     []string      `json:"files,omitempty"`  // the user's own, beside the tokens
	UsedBy    []string      `json:"usedBy,omitempty"` // Get and List: the sandboxes that see a share of the user's own, by name
	Warnings  []string      `json:"warnings,omitempty"`
	Problem   string        `json:"problem,omitempty"` // one line: why a part of the share, or all but its name, can't be read
}

// Limits of a share's files beside the token, all together.
const (
	MaxFiles     = 64
	MaxFilesSize = 512 << 10 // bytes
)

// FilesRequest changes a share's files beside the token, in one generation.
type FilesRequest struct {
	Files  map[string][]byte `json:"files,omitempty"` // by name; new content
	Remove []string          `json:"remove,omitempty"`
}

// ShareClient is the part of a Client that is about shares of the user's own.
type ShareClient struct{ client *Client }

// Create makes a share, or finds the one of that name. It returns once a fresh token is
// in the share.
func (c ShareClient) Create(ctx context.Context, r ShareRequest) (Share, error) {
	return call[Share](ctx, c.client, "POST", "/v1/shares", r)
}

// List returns all shares of the user's own, oldest first.
func (c ShareClient) List(ctx context.Context) ([]Share, error) {
	return short[[]Share](ctx, c.client, "GET", "/v1/shares", nil)
}

// Get returns one share. It may belong to a sandbox.
func (c ShareClient) Get(ctx context.Context, ref string) (Share, error) {
	return short[Share](ctx, c.client, "GET", sharePath(ref), nil)
}

// Remove deletes a share of the user's own. Its token does not verify any more. If
// something has the share mounted, RemoveShare needs force; without it the error is
// CodeConflict.
func (c ShareClient) Remove(ctx context.Context, ref string, force bool) error {
	path := sharePath(ref)
	if force {
		path += "?force=1"
	}
	_, err := call[struct{}](ctx, c.client, "DELETE", path, nil)
	return err
}

// Put changes a share's further files. The share may belong to a sandbox. Put returns once
// the files are published.
func (c ShareClient) Put(ctx context.Context, ref string, r FilesRequest) (Share, error) {
	return call[Share](ctx, c.client, "POST", sharePath(ref, "files"), r)
}

// sharePath returns /v1/shares/ref/…, with ref escaped.
func sharePath(ref string, more ...string) string {
	return strings.Join(append([]string{"/v1/shares", url.PathEscape(ref)}, more...), "/")
}
