package config

import (
	"errors"
	"fmt"

	"openshell-vm/internal/fault"
)

// Problem is one thing that is wrong with the settings.
type Problem struct {
	Where   string // FILE, FILE:LINE, or the variable or flag
	Name    string // of the setting; "" if it is about none
	Message string // one line
	Hint    string // one line: what to do
}

// String is the line without the hint.
func (p Problem) String() string {
	if p.Where == "" {
		return p.Message
	}
	return p.Where + ": " + p.Message
}

// Error is all that is wrong with the settings, in the order of the file.
type Error struct{ Problems []Problem }

// Error is the first problem's line, and how many more there are.
func (e *Error) Error() string {
	line := "read the configuration: " + e.Problems[0].String()
	if more := len(e.Problems) - 1; more > 0 {
		line += fmt.Sprintf(" (and %d more)", more)
	}
	return line
}

// Unwrap is the first problem with its hint, for fault.HintOf.
func (e *Error) Unwrap() error {
	return &fault.Error{Err: errors.New(e.Problems[0].String()), Hint: e.Problems[0].Hint}
}

func (e *Error) add(p *Problem) {
	if p != nil {
		e.Problems = append(e.Problems, *p)
	}
}

func (e *Error) about(name string) bool {
	for _, p := range e.Problems {
		if p.Name == name {
			return true
		}
	}
	return false
}
