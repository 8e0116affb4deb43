package drivers

import (
	"context"

	"openshell-vm/internal/vocab"
)

// Meter is a driver that can tell what a running sandbox uses.
type Meter interface {
	// Usage tells it at this moment. It fails with ErrNotRunning if the sandbox does not run.
	Usage(ctx context.Context, id string) (Usage, error)
}

// Usage is what a running sandbox uses, as the host counts it.
type Usage = vocab.Usage
