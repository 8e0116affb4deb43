package drivers

import (
	"errors"

	"openshell-vm/internal/fault"
)

// Errors that the gateway acts on. Drivers return them, or wrap them.
var (
	ErrNotFound   = errors.New("no such sandbox in the engine")
	ErrExists     = errors.New("the engine already has a sandbox with this id")
	ErrNotRunning = errors.New("the sandbox is not running")
	ErrNoImage    = errors.New("no image is given")

	ErrNoSuchImage = errors.New("there is no such image here")
	ErrImageInUse  = errors.New("a sandbox was made of it")
)

// Error is a failure that a user can do something about. The CLI prints
// "Op: Err" as one line and then the hint as another.
type Error = fault.Error

// HintOf returns the innermost hint in err's tree; "" if there is none.
func HintOf(err error) string { return fault.HintOf(err) }
