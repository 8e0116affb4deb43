package api

import (
	"context"
	"time"

	"openshell-vm/internal/vocab"
)

// Owner is a user and a group, by their numbers on the host.
type Owner = vocab.Owner

// SourceState is a source of a share's file, and what is known of it.
type SourceState struct {
	Source
	MadeAt    time.Time `json:"madeAt,omitzero"`    // when its content was found; zero if none was since the gateway began
	ExpiresAt time.Time `json:"expiresAt,omitzero"` // zero if that is not known
	NextAt    time.Time `json:"nextAt,omitzero"`    // when a command runs again
	Problem   string    `json:"problem,omitempty"`  // one line: why the last try failed
}

// SourcesRequest changes which files of a share have sources.
type SourcesRequest struct {
	Set  []Source `json:"set,omitempty"`  // each replaces the one of its name
	Drop []string `json:"drop,omitempty"` // names of files
}

// SetSources changes the sources of a share's files, a sandbox's too. It returns once a
// generation with them is published.
func (c ShareClient) SetSources(ctx context.Context, ref string, r SourcesRequest) (Share, error) {
	return call[Share](ctx, c.client, "POST", sharePath(ref, "sources"), r)
}
