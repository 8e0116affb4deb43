// Package fault has the error type for failures that a user can do something about.
package fault

// Error is a failure that a user can do something about. The CLI prints "Op: Err" as one
// line, and the hint as another.
type Error struct {
	Op   string // what was tried: "start the VM"
	Err  error
	Hint string // what to do; one line, no full stop
}

// Error returns the line without the hint.
func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// HintOf returns the innermost hint in err's tree, from the first branch that has one; ""
// if there is none.
func HintOf(err error) string {
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if hint := HintOf(e.Unwrap()); hint != "" {
			return hint
		}
	case interface{ Unwrap() []error }:
		for _, branch := range e.Unwrap() {
			if hint := HintOf(branch); hint != "" {
				return hint
			}
		}
	}
	if e, ok := err.(*Error); ok {
		return e.Hint
	}
	return ""
}
