package drivers

import (
	"context"
	"errors"
	"time"
)

// Seer is a driver that can tell which generation of its share a running sandbox sees. It has no
// part in publishing, and no token's validity depends on it.
type Seer interface {
	// Seen tells which generation a program in the sandbox gets by opening the token's path,
	// and a moment at which it got that, by this host's clock; zero if that is not known. It
	// is quick: it is called again and again while somebody waits. The error is ErrNotRunning
	// if the sandbox does not run, and wraps ErrNotTold if what it sees can't be known.
	Seen(ctx context.Context, id string) (generation uint64, at time.Time, err error)
}

// ErrNotTold means that it can't be known which generation a sandbox sees.
var ErrNotTold = errors.New("which generation it sees can't be known")
