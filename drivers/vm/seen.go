package vm

import (
	"context"
	"fmt"
	"slices"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/api"
)

// Seen is what the guest init told the monitor last. A guest can lie about it, to nobody's harm but
// its own; it can't claim what was not published. A monitor of an older version does not tell when
// it heard that.
func (d *Driver) Seen(ctx context.Context, id, share string) (generation uint64, at time.Time, err error) {
	b := d.sandbox(id)
	spec, err := b.spec()
	if err != nil {
		return 0, at, err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	r, err := b.ask(ctx, api.Request{Status: &struct{}{}})
	switch {
	case err != nil:
		return 0, at, err
	case r.State != drivers.Running:
		return 0, at, drivers.ErrNotRunning
	}
	shown, ok := spec.ShareNamed(share)
	if !ok {
		return 0, at, fmt.Errorf("%w: it does not have the share", drivers.ErrNotTold)
	}
	seen := api.SeenShare{Generation: r.SeenGeneration, At: r.SeenAt}
	if share != "" {
		seen = r.SeenShares[shareName(spec, share)]
	}
	published := monitor.Generation(shown.Source())
	if seen.Generation == 0 || seen.Generation > published {
		return 0, at, fmt.Errorf("%w: its guest has not told that it does", drivers.ErrUnseen)
	}
	if why := mute(r); why != "" && seen.Generation < published {
		return 0, at, fmt.Errorf("%w: %s; what it told last is generation %d", drivers.ErrUnseen, why, seen.Generation)
	}
	return seen.Generation, seen.At, nil
}

// mute says why a guest tells nothing; "" if it may. What it sees is not known then.
func mute(r api.Report) string {
	switch {
	case r.Reason != "":
		return "it is " + r.Reason
	case !r.Unanswered.IsZero():
		return fmt.Sprintf("its guest has answered nothing for %v", time.Since(r.Unanswered).Round(time.Second))
	}
	return ""
}

// shareName is what the guest calls a share.
func shareName(spec drivers.Spec, share string) string {
	return guest.ShareName(slices.IndexFunc(spec.Shares, func(s drivers.Share) bool { return s.Name == share }))
}
