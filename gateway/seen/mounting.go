package seen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/shares"
	"openshell-vm/internal/text"
)

// mounting returns who has a share of the user's own mounted: sandboxes, and whoever else has it. It
// is looked for again and again: a container may start or end meanwhile.
func (w *Watch) mounting(ctx context.Context, it *roster.Item) (all []viewer, err error) {
	auth := it.Lease.Share().AuthDir()
	var told []*roster.Item
	if own, ok := it.Owner.(*shares.Share); ok {
		for _, box := range w.showing(own) {
			told = append(told, box.Item)
			switch box.Snapshot().State {
			case api.StateRunning, api.StateStarting, api.StateRestarting, api.StateUnknown:
				all = append(all, w.viewer(sight{box, own}))
			}
		}
	}
	found, silent := w.opts.Shares.Viewers(ctx, auth, told)
	for _, engine := range silent {
		all = append(all, viewer{"what " + engine + " runs", func(context.Context) (uint64, error) {
			return 0, fmt.Errorf("%w: %s does not answer", drivers.ErrNotTold, engine)
		}})
	}
	for _, m := range found {
		all = append(all, viewer{m.Name, func(ctx context.Context) (uint64, error) { return w.lookInto(ctx, m, auth) }})
	}
	if len(all) == 0 {
		return nil, nobody(it)
	}
	return all, nil
}

// lookInto looks through the root of a process that has a share mounted.
func (w *Watch) lookInto(ctx context.Context, m shares.Viewer, auth string) (uint64, error) {
	if m.PID == 0 {
		return 0, fmt.Errorf("%w: none of its processes is known", drivers.ErrNotTold)
	}
	n, err := w.looker.Generation(ctx, fmt.Sprint(m.PID, m.Target), m.PID, m.Target, auth)
	switch {
	case errors.Is(err, os.ErrProcessDone):
		return 0, drivers.ErrNotRunning
	case errors.Is(err, fs.ErrPermission):
		return 0, fmt.Errorf("%w: this user may not look into its processes, which are another user's", drivers.ErrNotTold)
	}
	return n, err
}

// line is an error in one line, without the words that its sentence says already.
func line(err error) string {
	said := explain.Line(err)
	for _, known := range []error{drivers.ErrNotTold, drivers.ErrUnseen} {
		said = strings.TrimPrefix(said, known.Error()+": ")
	}
	return text.Line(said)
}
