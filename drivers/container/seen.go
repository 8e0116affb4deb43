package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/inroot"
)

// seer implements drivers.Seer.
type seer struct {
	engine     string
	containers *finder
	looker     inroot.Looker
}

// Seen looks through the root of the container's main process. The engine tells that process;
// whether it is still the same one, the share itself tells: see inroot.
func (s *seer) Seen(ctx context.Context, id, share string) (generation uint64, at time.Time, err error) {
	f, err := s.containers.find(ctx, id)
	if err != nil {
		return 0, at, err
	}
	spec := specOf(f)
	switch {
	case f.State != drivers.Running:
		return 0, at, drivers.ErrNotRunning
	case f.PID <= 0 || spec == nil:
		return 0, at, fmt.Errorf("%w: %s does not tell its process", drivers.ErrNotTold, s.engine)
	}
	shown, ok := spec.ShareNamed(share)
	if !ok {
		return 0, at, fmt.Errorf("%w: it does not have the share", drivers.ErrNotTold)
	}
	generation, err = s.looker.Generation(ctx, id+" "+share, f.PID, shown.Target(), shown.Source())
	switch {
	case errors.Is(err, os.ErrProcessDone):
		return 0, at, drivers.ErrNotRunning
	case errors.Is(err, fs.ErrPermission):
		return 0, at, fmt.Errorf("%w: this user may not look into its processes, which are another user's", drivers.ErrNotTold)
	case ctx.Err() != nil:
		return 0, at, ctx.Err()
	case err != nil:
		return 0, at, fmt.Errorf("%w: %w", drivers.ErrUnseen, err)
	}
	return generation, time.Now(), nil
}
