package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/fault"
)

// connectEvery is how often a start checks whether the gateway listens.
const connectEvery = 5 * time.Millisecond

// Start starts a gateway in the background, under a supervisor, and returns once one
// listens. program is openshell-gateway's path. If two calls start a gateway each, one of
// these takes the state lock, and both calls return when it listens.
func Start(ctx context.Context, program string) error {
	if api.Listens(ctx) {
		return nil
	}
	if err := state.Check(); err != nil {
		return err
	}
	for userManager() {
		u, err := startUnit(ctx, program)
		if err != nil {
			break
		}
		again, err := u.await(ctx)
		u.close()
		if !again {
			return err
		}
	}
	return startParent(ctx, program)
}

// printed makes an error of the lines that a gateway printed before it ended.
func printed(text []byte, code int) error {
	e := &fault.Error{Err: fmt.Errorf("the gateway ended with exit code %d before it listened", code),
		Hint: "read " + state.LogFile + " in the state directory"}
	for line := range bytes.Lines(text) {
		line := strings.TrimSpace(string(line))
		if hint, ok := strings.CutPrefix(line, "hint: "); ok {
			e.Hint = hint
		} else if line != "" {
			e.Err = errors.New(strings.TrimPrefix(line, "openshell-gateway: "))
		}
	}
	return e
}
