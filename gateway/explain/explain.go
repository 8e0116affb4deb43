// Package explain turns any error into an error of the API: a code, one printable line, and
// a hint. The result depends on the error only, not on the request.
package explain

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// Invalid is Error for failures that are the request's fault: the code is CodeInvalid. The
// exceptions are an error that has a code already, a cancelled request and a lack of room.
func Invalid(err error) error {
	var known *api.Error
	if errors.As(err, &known) {
		return err
	}
	e := Error(err)
	if errors.Is(err, context.Canceled) {
		return e
	}
	if e.Code != api.CodeOverloaded {
		e.Code = api.CodeInvalid
	}
	if drivers.HintOf(err) == "" {
		e.Hint = "openshell-vm run --help lists what can be asked for"
	}
	return e
}

// Error makes the API's error for err. An *api.Error in its chain keeps its code, message
// and hint. For any other error it chooses a code, and a hint if the error has none.
func Error(err error) *api.Error {
	var known *api.Error
	if errors.As(err, &known) {
		return &api.Error{Code: known.Code, Message: text.Line(known.Message), Hint: text.Line(known.Hint)}
	}
	e := &api.Error{Code: api.CodeInternal, Message: Line(err), Hint: text.Line(drivers.HintOf(err))}
	hint := "gateway.log in the state directory and openshell-vm doctor tell more"
	var engine *drivers.Error
	switch {
	case noRoom(err):
		e.Code, hint = api.CodeOverloaded, "make room, then try again"
	case errors.Is(err, drivers.ErrNotFound):
		e.Code, hint = api.CodeNotFound, "openshell-vm ps -a lists what there is"
	case errors.Is(err, drivers.ErrNoSuchImage):
		e.Code, hint = api.CodeNotFound, "openshell-vm image ls lists what there is"
	case errors.Is(err, drivers.ErrImageInUse):
		e.Code, hint = api.CodeConflict, "remove the sandbox first: openshell-vm rm"
	case errors.Is(err, drivers.ErrNotRunning), errors.Is(err, drivers.ErrExists):
		e.Code, hint = api.CodeConflict, "openshell-vm ps -a shows its state; openshell-vm start starts it"
	case errors.Is(err, context.DeadlineExceeded):
		e.Code, hint = api.CodeDriver, "try again; openshell-vm doctor says how the engine is"
	case errors.Is(err, context.Canceled): // the gateway ends; if the client went away, nobody reads this
		e.Code, e.Message, e.Hint = api.CodeEnding, "the gateway was ended meanwhile", ""
		hint = "do it again: the next command starts a gateway"
	case errors.As(err, &engine):
		e.Code = api.CodeDriver
	}
	if e.Hint == "" {
		e.Hint = hint
	}
	return e
}

// Own is Error for failures in which no engine takes part: it never returns CodeDriver.
func Own(err error) error {
	e := Error(err)
	if e.Code == api.CodeDriver {
		e.Code = api.CodeInternal
	}
	return e
}

func noRoom(err error) bool {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Line returns an error's text as one printable line, whoever wrote it.
func Line(err error) string { return text.Line(err.Error()) }

// NotSupported is the error for what a driver can't do. what completes "the driver X can't".
func NotSupported(driver, what string) error {
	return &api.Error{Code: api.CodeInvalid,
		Message: fmt.Sprintf("the driver %s can't %s", driver, what),
		Hint:    "use another driver for such a sandbox"}
}
