package container

import (
	"context"
	"errors"
	"fmt"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/said"
)

// Driver makes a drivers.Driver of an Engine, with all optional interfaces. What
// has no comment below is documented there.
type Driver struct {
	engine Engine
	places *places // where there are several engines of a kind
	finder *finder // which container is a sandbox's
	gates  gates   // keep starts and connecting clients apart
	seer           // what they see
}

// New makes a driver for the sandboxes of one gateway.
func New(engine Engine, gatewayID string) *Driver {
	movable, _ := engine.(Movable)
	places := &places{engine: movable, of: map[string]string{}, in: map[string]int{}}
	finder := &finder{engine: engine, gateway: gatewayID, places: places, kept: map[string]string{}}
	return &Driver{engine: engine, places: places, finder: finder, seer: seer{engine: engine.Name(), containers: finder}}
}

func (d *Driver) Name() string { return d.engine.Name() }

func (d *Driver) Probe(ctx context.Context) drivers.Info { return d.engine.Probe(ctx) }

func (d *Driver) Pull(ctx context.Context, q drivers.PullRequest, report func(drivers.PullProgress)) error {
	here, err := d.engine.HasImage(ctx, q.Image)
	switch {
	case err != nil:
		return explainPull(d.engine, q.Image, err)
	case here && q.Policy != drivers.PullAlways:
		return nil
	case q.Policy == drivers.PullNever:
		return &drivers.Error{Op: "use the image " + q.Image, Err: fmt.Errorf("%s does not have it, and it is not to be fetched", d.Name()),
			Hint: "leave out --pull never"}
	}
	if report == nil {
		report = func(drivers.PullProgress) {}
	}
	if err := d.engine.Pull(ctx, q.Image, report); err != nil {
		return explainPull(d.engine, q.Image, err)
	}
	return nil
}

// Create fetches the image if the engine lacks it.
func (d *Driver) Create(ctx context.Context, spec drivers.Spec) error {
	if err := d.suits(spec); err != nil {
		return err
	}
	host, err := d.engine.Host(ctx)
	if err != nil {
		return d.engine.Explain("ask "+d.Name()+" about its host", err)
	}
	if err := checkShares(spec); err != nil {
		return err
	}
	p, err := planOf(spec, host)
	if err != nil {
		return err
	}
	labels, err := labelsOf(spec)
	if err != nil {
		return err
	}
	if err := d.Pull(ctx, drivers.PullRequest{Image: spec.Image}, nil); err != nil {
		return err
	}
	process := spec.Process
	process.Env = spec.WithContract(process.Env) // not in the label: the spec is what was asked for
	object, err := d.engine.Create(ctx, Object{
		Image: spec.Image, Entrypoint: spec.Entrypoint, Name: nameOf(spec.ID), Process: process, Stdin: spec.Stdin,
		Shares: p.shares, Binds: p.binds, Masks: p.masks, Labels: labels, CPUs: spec.CPUs, Memory: spec.Memory,
		NoNetwork: spec.Network == drivers.NetworkNone, Ports: spec.Ports,
	})
	if errors.Is(err, drivers.ErrExists) {
		return d.inTheWay(ctx, spec.ID, err)
	} else if err != nil {
		return explainMount(d.engine, "create the container", spec, err)
	}
	d.finder.keep(spec.ID, object)
	return nil
}

// inTheWay looks at the container that has the name already. If it is the sandbox's, the
// sandbox exists. Else it is somebody else's.
func (d *Driver) inTheWay(ctx context.Context, id string, exists error) error {
	f, err := d.engine.Inspect(ctx, nameOf(id))
	switch {
	case err != nil:
		return exists
	case d.finder.ours(f, id):
		d.finder.keep(id, f.ID)
		return exists
	}
	return &drivers.Error{Op: "create the container",
		Err:  fmt.Errorf("its name %s is taken by a container that openshell-vm did not make", nameOf(id)),
		Hint: fmt.Sprintf("see what it is, and remove it: %s rm %s", d.Name(), nameOf(id))}
}

func (d *Driver) Inspect(ctx context.Context, id string) (drivers.Status, error) {
	f, err := d.finder.find(ctx, id)
	if err != nil {
		return drivers.Status{}, err
	}
	return d.status(f), nil
}

// List leaves out a container that the engine can't describe. An engine that fails at the
// list, perhaps because of a stranger's container, is asked for each one that is kept.
func (d *Driver) List(ctx context.Context) ([]drivers.Status, error) {
	objects, failed := d.engine.List(ctx, drivers.LabelGatewayID, d.finder.gateway)
	if failed != nil {
		if !answered(ctx, d.engine, failed) {
			return nil, d.engine.Explain("list the containers", failed)
		}
		objects = d.finder.all()
	}
	list := make([]drivers.Status, 0, len(objects))
	for _, object := range objects {
		f, err := d.engine.Inspect(ctx, object)
		if err != nil && !answered(ctx, d.engine, err) {
			return nil, d.engine.Explain("list the containers", err)
		}
		if id := f.Labels[drivers.LabelSandboxID]; err == nil && d.finder.known(f, id) {
			list = append(list, d.status(f))
		}
	}
	if failed != nil && len(list) == 0 {
		return nil, d.engine.Explain("list the containers", failed)
	}
	return list, nil
}

func (d *Driver) Wait(ctx context.Context, id string) (drivers.Status, error) {
	for {
		f, err := d.finder.find(ctx, id)
		if err != nil {
			return drivers.Status{}, err
		}
		if f.State != drivers.Running {
			return d.status(f), nil
		}
		_, err = d.engine.Wait(ctx, f.ID, false)
		if err != nil && !errors.Is(err, drivers.ErrNotFound) {
			return drivers.Status{}, d.engine.Explain("wait for the container's end", err)
		}
	}
}

func (d *Driver) Keep(id, object string) { d.finder.keep(id, object) }

func (d *Driver) status(f Found) drivers.Status {
	s := drivers.Status{
		ID: f.Labels[drivers.LabelSandboxID], Object: f.ID, Name: f.Labels[drivers.LabelName], Spec: specOf(f),
		State: f.State, ExitCode: f.ExitCode, Reason: f.Reason, StartedAt: f.StartedAt, ExitedAt: f.ExitedAt,
		Details: []drivers.Fact{{Name: "container", Value: f.Name}, {Name: "image", Value: f.Image}},
	}
	if !drivers.HasEnv(f.Env, drivers.TokenFileEnv) {
		s.Details = append(s.Details, drivers.Fact{Name: "environment",
			Value: "made by an older version, without " + drivers.TokenFileEnv + "; the token is in " + drivers.TokenFile +
				" all the same. Remove the sandbox and run it again to have it set"})
	}
	u, failed := d.gates.failure(s.ID)
	if failed && f.State != drivers.Running {
		s.State, s.ExitCode, s.Reason, s.ExitedAt = drivers.Exited, u.code, said.FirstLine(u.err), u.at
	}
	return s
}
