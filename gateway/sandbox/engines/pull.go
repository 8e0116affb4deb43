package engines

import (
	"context"
	"fmt"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox/request"
)

// Pull fetches an image. It calls report with the engine's progress.
type Pull func(ctx context.Context, report func(drivers.PullProgress)) error

// Pull checks a request, chooses its driver, and returns a function that fetches its image.
// The function does nothing if the request has no image or the driver takes none. A driver
// that takes no image refuses one in Resolve.
func (e *Engines) Pull(ctx context.Context, q api.CreateRequest, policy api.PullPolicy) (Pull, error) {
	if policy != api.PullMissing && policy != api.PullAlways && policy != api.PullNever {
		return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("there is no policy %q for images", policy),
			Hint: "use always, missing or never"}
	}
	if err := request.Check(&q); err != nil {
		return nil, err
	}
	driver, err := e.Choose(ctx, q)
	if err != nil {
		return nil, err
	}
	puller, ok := driver.(drivers.Puller)
	if !ok || q.Image == "" {
		return func(context.Context, func(drivers.PullProgress)) error { return nil }, nil
	}
	return func(ctx context.Context, report func(drivers.PullProgress)) error {
		return puller.Pull(ctx, drivers.PullRequest{Image: q.Image, Policy: policy, RequireJail: q.RequireJail}, report)
	}, nil
}
