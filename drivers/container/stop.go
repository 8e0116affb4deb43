package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"openshell-vm/drivers"
)

func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	f, err := d.finder.find(ctx, id)
	if err != nil {
		return err
	}
	if f.State != drivers.Running {
		return nil
	}
	if grace > 0 {
		if ended, err := d.end(ctx, f.ID, cmp.Or(f.StopSignal, 15), grace); ended || err != nil {
			return err
		}
	}
	ended, err := d.end(ctx, f.ID, 9, killPatience)
	if err == nil && !ended {
		err = &drivers.Error{Op: "stop the container", Err: fmt.Errorf("it still runs %v after it was killed", killPatience),
			Hint: "a process in it waits for the kernel, for a disk or a file server that does not answer: see dmesg"}
	}
	return err
}

// killPatience is how long a killed container may take to end. It is less than the
// gateway waits, so that the gateway is told why.
const killPatience = 45 * time.Second

// end sends sig and waits for the end, for no longer than patience. ended is false when
// the time is up.
func (d *Driver) end(ctx context.Context, name string, sig int, patience time.Duration) (ended bool, err error) {
	err = d.engine.Kill(ctx, name, sig)
	if err != nil {
		err = d.orEnded(ctx, name, err)
	}
	if errors.Is(err, drivers.ErrNotRunning) || errors.Is(err, drivers.ErrNotFound) {
		return true, nil
	} else if err != nil {
		return false, d.engine.Explain("stop the container", err)
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err = d.engine.Wait(bounded, name, false)
	switch {
	case err == nil || errors.Is(err, drivers.ErrNotFound):
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case bounded.Err() != nil:
		return false, nil
	}
	return false, d.engine.Explain("wait for the container's end", err)
}

// orEnded looks at a container about which the engine refused a request with err. If it
// has ended meanwhile, that is the error: engines have many refusals for it.
func (d *Driver) orEnded(ctx context.Context, name string, err error) error {
	if errors.Is(err, drivers.ErrNotFound) || errors.Is(err, drivers.ErrNotRunning) || !answered(ctx, d.engine, err) {
		return err
	}
	f, failed := d.engine.Inspect(ctx, name)
	switch {
	case errors.Is(failed, drivers.ErrNotFound):
		return failed
	case failed == nil && f.State != drivers.Running:
		return drivers.ErrNotRunning
	}
	return err
}

func (d *Driver) Signal(ctx context.Context, id string, sig int) error {
	f, err := d.finder.find(ctx, id)
	if err == nil {
		if err = d.engine.Kill(ctx, f.ID, sig); err != nil {
			err = d.orEnded(ctx, f.ID, err)
		}
	}
	if err == nil || errors.Is(err, drivers.ErrNotFound) || errors.Is(err, drivers.ErrNotRunning) {
		return err
	}
	return d.engine.Explain(fmt.Sprintf("send signal %d", sig), err)
}

func (d *Driver) Remove(ctx context.Context, id string) error {
	f, err := d.finder.find(ctx, id)
	if err == nil {
		err = d.engine.Remove(ctx, f.ID)
	} else if d.places.abandoned(id) {
		err = drivers.ErrNotFound
	}
	if err != nil && !errors.Is(err, drivers.ErrNotFound) {
		return d.engine.Explain("remove the container", err)
	}
	d.places.keep(id, "")
	d.finder.keep(id, "")
	d.gates.forget(id)
	return nil
}
