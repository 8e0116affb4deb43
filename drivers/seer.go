package drivers

import (
	"context"
	"errors"
	"time"
)

// Seer is a driver that can tell which generation of its shares a running sandbox sees. It has no
// part in publishing, and no token's validity depends on it.
type Seer interface {
	// Seen tells which generation of a share a program in the sandbox gets by opening a file of
	// it, and a moment at which it got that, by this host's clock; zero if that is not known.
	// share is the name of one of Spec.Shares, or "" for the sandbox's own. It is quick: it is
	// called again and again while somebody waits. The error is ErrNotRunning if the sandbox
	// does not run. It wraps ErrNotTold if what it sees can never be known here,
	// though it may see all; and ErrUnseen if it sees no generation, or does not tell as it
	// should. All others are the engine's.
	Seen(ctx context.Context, id, share string) (generation uint64, at time.Time, err error)
}

// The errors of Seen. The words before the first colon are left out where a sentence says them.
var (
	ErrNotTold = errors.New("which generation it sees can't be known")
	ErrUnseen  = errors.New("it does not see its share")
)
