package inside

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox"
)

// usageDeadline bounds how long an engine may take to tell what a sandbox uses.
const usageDeadline = 10 * time.Second

// Usage tells what the running sandbox uses.
func Usage(ctx context.Context, s *sandbox.Sandbox) (api.Usage, error) {
	meter, ok := s.Driver().(drivers.Meter)
	if !ok {
		return api.Usage{}, cant(s, "tell what a sandbox uses")
	}
	if err := s.Present(); err != nil {
		return api.Usage{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, usageDeadline)
	defer cancel()
	u, err := meter.Usage(ctx, s.ID)
	if errors.Is(err, drivers.ErrNotRunning) {
		name := s.Rec().Name
		return u, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s is not running", name),
			Hint: "start it first: openshell-vm start " + name}
	}
	return u, err
}
