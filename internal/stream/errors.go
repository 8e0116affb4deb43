package stream

import (
	"errors"
	"fmt"
)

// ErrHangup means that the connection ended before the session did. It is never an end of
// input.
var ErrHangup = errors.New("the other side hung up")

// ErrClosed means that this side has closed the session itself.
var ErrClosed = errors.New("the session is closed")

// AbortError is the other side's reason for giving a session up.
type AbortError struct{ Reason string }

func (e *AbortError) Error() string { return e.Reason }

// ProtocolError means that the other side broke the protocol. Nothing more is read from it.
type ProtocolError struct{ What string }

func (e *ProtocolError) Error() string { return "protocol error: " + e.What }

func broken(format string, args ...any) error {
	return &ProtocolError{fmt.Sprintf(format, args...)}
}
