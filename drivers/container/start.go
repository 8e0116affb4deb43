package container

import (
	"context"
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/said"
)

// Start succeeds also if the command is missing or can't be executed. That is the
// workload's failure and not the engine's. The sandbox has exited with 127 or 126 then.
func (d *Driver) Start(ctx context.Context, id string) error {
	leave, err := d.gates.enter(ctx, id)
	if err != nil {
		return err
	}
	defer leave()
	f, err := d.finder.find(ctx, id)
	if err != nil || f.State == drivers.Running {
		return err
	}
	spec := specOf(f)
	if spec == nil {
		return &drivers.Error{Op: "start the container", Err: fmt.Errorf("its label %s can't be read", drivers.LabelSpec),
			Hint: "remove the sandbox and make it again"}
	}
	plan, err := d.checkSources(ctx, *spec, f)
	if err != nil {
		return err
	}
	d.gates.forget(id)
	if err := noteStart(*spec); err != nil {
		return &drivers.Error{Op: "start the container", Err: err, Hint: "see that the state directory is there and has room"}
	}
	if err := d.engine.Start(ctx, f.ID); err != nil {
		return d.startFailed(ctx, *spec, err)
	}
	v := verifier{d.engine, d.finder}
	if err := v.verify(ctx, *spec, plan.judged); err != nil {
		_, _ = d.end(context.WithoutCancel(ctx), f.ID, 9, 10*time.Second)
		return err
	}
	if p := spec.Process; p.Terminal && p.Size != (drivers.Size{}) {
		// A workload that has ended already has no terminal any more.
		_ = d.engine.Resize(ctx, f.ID, p.Size)
	}
	return nil
}

// checkSources looks again at the sources. Since Create one may have vanished, or may
// show a hidden directory now.
func (d *Driver) checkSources(ctx context.Context, spec drivers.Spec, f Found) (plan, error) {
	if err := checkShares(spec); err != nil {
		return plan{}, err
	}
	host, err := d.engine.Host(ctx)
	if err != nil {
		return plan{}, d.engine.Explain("ask "+d.Name()+" about its host", err)
	}
	p, err := planOf(spec, host)
	if err != nil {
		return plan{}, err
	}
	for _, mask := range p.masks {
		if _, covered := f.Writable[mask]; !covered {
			return plan{}, &drivers.Error{Op: "start the container",
				Err: fmt.Errorf("%s would show what no sandbox may see (keys, tokens, control sockets, the kernel); "+
					"nothing covers it since the sandbox was made", mask),
				Hint: "remove the sandbox and make it again"}
		}
	}
	return p, nil
}

// startFailed tells a refused start to those who are attached. If it is the workload's
// own fault, it is remembered as the sandbox's end and is no error.
func (d *Driver) startFailed(ctx context.Context, spec drivers.Spec, err error) error {
	if code := said.ExecFailure(err); code != 0 {
		d.gates.fail(spec.ID, startFailure{code, err, time.Now()})
		return nil
	}
	err = explainMount(d.engine, "start the container", spec, err)
	d.gates.fail(spec.ID, startFailure{0, err, time.Now()})
	return err
}
