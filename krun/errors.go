package krun

import (
	"errors"
	"fmt"
	"syscall"
)

// What an Error wraps if libkrun returned no errno.
var (
	ErrNoLibrary   = errors.New("libkrun is not available")
	ErrUnsupported = errors.New("not in this libkrun")
	ErrNewer       = errors.New("this libkrun is newer than known")
	ErrInvalid     = errors.New("refused")
	ErrClosed      = errors.New("the VM context is closed or was started")
	ErrProtocol    = errors.New("libkrun returned an undefined value")
)

// Error is the one error type of this package.
type Error struct {
	Symbol string // the C function: "krun_add_virtiofs3"; "" while loading
	Since  string // with ErrUnsupported: the first libkrun with the function, "1.18.0"; "" if it was left out of the build
	Until  string // with ErrNewer: the first libkrun without it; "" if not known
	Detail string // what exactly is wrong; may be empty
	Err    error  // a syscall.Errno, or one of this package's sentinels
}

func (e *Error) Error() string {
	text := e.Err.Error()
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Since != "" {
		text += ", libkrun " + e.Since + " is the first that has it"
	}
	if e.Until != "" {
		text += ", libkrun " + e.Until + " dropped it"
	}
	if e.Symbol != "" {
		return e.Symbol + ": " + text
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes a missing symbol also errors.ErrUnsupported.
func (e *Error) Is(target error) bool {
	return target == errors.ErrUnsupported && (e.Err == ErrUnsupported || e.Err == ErrNewer)
}

// maxErrno is the largest number that Linux uses for an error.
const maxErrno = 4095

// result makes a Go error of a C function's return value; no other place does. positive
// is true for functions that return a number.
func result(symbol string, ret int32, positive bool) (int, error) {
	switch {
	case ret == 0, ret > 0 && positive:
		return int(ret), nil
	case ret < 0 && ret >= -maxErrno:
		return 0, &Error{Symbol: symbol, Err: syscall.Errno(-ret)}
	}
	return 0, &Error{Symbol: symbol, Err: ErrProtocol, Detail: fmt.Sprint(ret)}
}

func invalid(symbol, format string, args ...any) error {
	return &Error{Symbol: symbol, Err: ErrInvalid, Detail: fmt.Sprintf(format, args...)}
}
