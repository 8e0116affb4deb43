package api

import (
	"context"
	"time"
)

// Seen is what is known of SeenGeneration, and of what is not seen.
type Seen struct {
	SeenAt    time.Time     `json:"seenAt,omitzero"`     // when the sandbox is known to have seen that
	SeenAfter time.Duration `json:"seenAfter,omitempty"` // ns, from the publish of that; 0 if not known
	// UnseenSince is the first publish that a running sandbox has not seen, though its driver's
	// bound is over; zero if all is well.
	UnseenSince  time.Time `json:"unseenSince,omitzero"`
	UnseenReason string    `json:"unseenReason,omitempty"` // one line, if more is known than what it sees
}

// SeenRequest asks to wait until a generation of a share is seen.
type SeenRequest struct {
	Generation uint64        `json:"generation,omitempty"` // or a later one; 0 for the one that is published now
	Timeout    time.Duration `json:"timeout,omitempty"`    // ns, at most an hour; 0 for the driver's bound and a little
}

// SeenResult says who sees a generation.
type SeenResult struct {
	Generation uint64        `json:"generation"` // that was waited for
	Seen       bool          `json:"seen"`       // by all viewers
	Took       time.Duration `json:"took"`       // ns, of the wait
	Viewers    []SeenBy      `json:"viewers"`
}

// SeenBy is one who has a share mounted: a sandbox, a container, or a process.
type SeenBy struct {
	Name       string `json:"name"`
	Generation uint64 `json:"generation,omitempty"`
	Problem    string `json:"problem,omitempty"` // one line: why it is not known
}

// Wait returns once all who have a share mounted see a generation. The share may belong to a
// sandbox. If they do not in time, if nothing has it mounted, or if that can't be known, the error is
// CodeNotSeen.
func (c ShareClient) Wait(ctx context.Context, ref string, q SeenRequest) (SeenResult, error) {
	return call[SeenResult](ctx, c.client, "POST", sharePath(ref, "wait"), q)
}
