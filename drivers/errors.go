package drivers

import "errors"

// Sentinels that the gateway acts on; drivers wrap them.
var (
	ErrNotFound   = errors.New("no such sandbox in the engine")
	ErrExists     = errors.New("the engine already has a sandbox with this id")
	ErrNotRunning = errors.New("the sandbox is not running")
	ErrNoImage    = errors.New("no image is given")
)

// Error is a failure that a user can do something about. The CLI prints
// "Op: Err" as one line and then the hint as another.
type Error struct {
	Op   string // what was tried: "start the VM"
	Err  error
	Hint string // what to do; one line, no full stop
}

// Error gives the one line without the hint.
func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// HintOf finds the innermost hint in err's chain; "" if there is none.
func HintOf(err error) string {
	hint := ""
	for err != nil {
		if e, ok := err.(*Error); ok && e.Hint != "" {
			hint = e.Hint
		}
		err = errors.Unwrap(err)
	}
	return hint
}
