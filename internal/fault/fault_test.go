package fault

import (
	"errors"
	"fmt"
	"testing"
)

func TestHintOf(t *testing.T) {
	inner := &Error{Op: "connect", Err: errors.New("refused"), Hint: "start it"}
	plain := errors.New("plain")
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"none":                  {plain, ""},
		"nil":                   {nil, ""},
		"the innermost":         {&Error{Op: "start", Err: inner, Hint: "outer"}, "start it"},
		"the outer one":         {&Error{Op: "start", Err: plain, Hint: "outer"}, "outer"},
		"wrapped":               {fmt.Errorf("start: %w", inner), "start it"},
		"joined":                {errors.Join(plain, inner), "start it"},
		"one of two":            {fmt.Errorf("%w: %w", plain, inner), "start it"},
		"the first of two":      {errors.Join(inner, &Error{Err: plain, Hint: "second"}), "start it"},
		"joined, then wrapped":  {&Error{Op: "start", Err: errors.Join(plain, fmt.Errorf("x: %w", inner)), Hint: "outer"}, "start it"},
		"above joined ones":     {&Error{Op: "start", Err: errors.Join(plain, plain), Hint: "outer"}, "outer"},
		"an inner without hint": {&Error{Op: "start", Err: &Error{Op: "connect", Err: plain}, Hint: "outer"}, "outer"},
	} {
		if got := HintOf(test.err); got != test.want {
			t.Errorf("%s: %q, %q is wanted", name, got, test.want)
		}
	}
}

func TestErrorIsOneLine(t *testing.T) {
	inner := &Error{Op: "connect", Err: errors.New("refused"), Hint: "start it"}
	if got := (&Error{Op: "start", Err: inner}).Error(); got != "start: connect: refused" {
		t.Errorf("message %q", got)
	}
	if got := (&Error{Err: inner}).Error(); got != "connect: refused" {
		t.Errorf("message %q", got)
	}
}
