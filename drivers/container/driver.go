package container

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/notice"
)

// Driver makes a drivers.Driver of an Engine, with all optional interfaces. What
// has no comment below is documented there.
type Driver struct {
	engine  Engine
	gateway string

	failed notice.Board[unstarted] // starts that failed, for those who are attached, by id

	mu      sync.Mutex
	kept    map[string]string      // the engine's own ids, by id: see Keep
	places  map[string]string      // the engines' addresses, by id: see KeepPlace
	inPlace map[string]int         // how many are in each
	doors   map[string]*sync.Mutex // see door
	unstart map[string]unstarted   // workloads that could not be run, by id
}

// unstarted is why a workload could not be run.
type unstarted struct {
	code int
	err  error
	at   time.Time
}

// New makes a driver for the sandboxes of one gateway.
func New(engine Engine, gatewayID string) *Driver {
	return &Driver{
		engine:  engine,
		gateway: gatewayID,
		kept:    map[string]string{},
		places:  map[string]string{},
		inPlace: map[string]int{},
		doors:   map[string]*sync.Mutex{},
		unstart: map[string]unstarted{},
	}
}

func (d *Driver) Name() string { return d.engine.Name() }

func (d *Driver) Probe(ctx context.Context) drivers.Info { return d.engine.Probe(ctx) }

func (d *Driver) Pull(ctx context.Context, image string, report func(drivers.PullProgress)) error {
	here, err := d.engine.HasImage(ctx, image)
	if err != nil {
		return d.explainPull(image, err)
	}
	if here {
		return nil
	}
	if report == nil {
		report = func(drivers.PullProgress) {}
	}
	if err := d.engine.Pull(ctx, image, report); err != nil {
		return d.explainPull(image, err)
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
	if err := checkSource(spec.Auth.Source()); err != nil {
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
	if err := d.Pull(ctx, spec.Image, nil); err != nil {
		return err
	}
	process := spec.Process
	process.Env = drivers.WithContract(process.Env) // not in the label: the spec is what was asked for
	object, err := d.engine.Create(ctx, Object{
		Name: nameOf(spec.ID), Image: spec.Image, Process: process, Stdin: spec.Stdin,
		Share: p.share, Binds: p.binds, Masks: p.masks, Labels: labels, CPUs: spec.CPUs, Memory: spec.Memory,
	})
	if errors.Is(err, drivers.ErrExists) {
		return d.inTheWay(ctx, spec.ID, err)
	} else if err != nil {
		return d.explainMount("create the container", spec, err)
	}
	d.Keep(spec.ID, object)
	return nil
}

// inTheWay sees whether what has the name already is the sandbox, which exists
// then, or somebody else's container.
func (d *Driver) inTheWay(ctx context.Context, id string, exists error) error {
	f, err := d.engine.Inspect(ctx, nameOf(id))
	switch {
	case err != nil:
		return exists
	case d.ours(f, id):
		d.Keep(id, f.ID)
		return exists
	}
	return &drivers.Error{Op: "create the container",
		Err:  fmt.Errorf("its name %s is taken by a container that openshell-vm did not make", nameOf(id)),
		Hint: fmt.Sprintf("see what it is, and remove it: %s rm %s", d.Name(), nameOf(id))}
}

func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	f, err := d.find(ctx, id)
	if err != nil {
		return err
	}
	if f.State != drivers.Running {
		return nil
	}
	if grace > 0 {
		if ended, err := d.end(ctx, f.ID, 15, grace); ended || err != nil {
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

// killPatience is how long a killed container may take to end: less than the
// gateway waits, so that it is told why.
const killPatience = 45 * time.Second

// end sends sig and waits that long for the end. ended is false when the time is up.
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

// orEnded looks at a container that an engine refused something with err. One that
// ended at that time gets refusals of many kinds: the end is what matters.
func (d *Driver) orEnded(ctx context.Context, name string, err error) error {
	if errors.Is(err, drivers.ErrNotFound) || errors.Is(err, drivers.ErrNotRunning) || !d.refused(ctx, err) {
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

func (d *Driver) Remove(ctx context.Context, id string) error {
	f, err := d.find(ctx, id)
	if err == nil {
		err = d.engine.Remove(ctx, f.ID)
	} else if d.abandoned(id) {
		err = drivers.ErrNotFound
	}
	if err != nil && !errors.Is(err, drivers.ErrNotFound) {
		return d.engine.Explain("remove the container", err)
	}
	d.KeepPlace(id, "")
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.kept, id)
	delete(d.unstart, id)
	delete(d.doors, id)
	return nil
}

// door keeps a start and the connecting of a client apart, so that a client
// sees a sandbox either before its start or with what it wrote since then.
func (d *Driver) door(id string) *sync.Mutex {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.doors[id] == nil {
		d.doors[id] = new(sync.Mutex)
	}
	return d.doors[id]
}

func (d *Driver) Inspect(ctx context.Context, id string) (drivers.Status, error) {
	f, err := d.find(ctx, id)
	if err != nil {
		return drivers.Status{}, err
	}
	return d.status(f), nil
}

// List leaves out a container that the engine can't describe; it hides no other: an engine that fails at a list, for the sake of a
// container of whomever, is asked for those that are kept.
func (d *Driver) List(ctx context.Context) ([]drivers.Status, error) {
	objects, failed := d.engine.List(ctx, drivers.LabelGatewayID, d.gateway)
	if failed != nil {
		if !d.refused(ctx, failed) {
			return nil, d.engine.Explain("list the containers", failed)
		}
		objects = d.keptObjects()
	}
	list := make([]drivers.Status, 0, len(objects))
	for _, object := range objects {
		f, err := d.engine.Inspect(ctx, object)
		if err != nil && !d.refused(ctx, err) {
			return nil, d.engine.Explain("list the containers", err)
		}
		if id := f.Labels[drivers.LabelSandboxID]; err == nil && d.known(f, id) {
			list = append(list, d.status(f))
		}
	}
	if failed != nil && len(list) == 0 {
		return nil, d.engine.Explain("list the containers", failed)
	}
	return list, nil
}

// refused says that the engine did answer, and err is about what it was asked.
func (d *Driver) refused(ctx context.Context, err error) bool {
	var engine *unreachable
	return ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) && !errors.As(d.engine.Explain("", err), &engine)
}

// keptObjects are the engine's own ids of all sandboxes of which they are known.
func (d *Driver) keptObjects() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.kept))
}

func (d *Driver) Signal(ctx context.Context, id string, sig int) error {
	f, err := d.find(ctx, id)
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

func (d *Driver) Wait(ctx context.Context, id string) (drivers.Status, error) {
	for {
		f, err := d.find(ctx, id)
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

func (d *Driver) Keep(id, object string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if object == "" {
		delete(d.kept, id)
		return
	}
	d.kept[id] = object
}

// keptAs is the engine's own id of the sandbox; "" if it is not known.
func (d *Driver) keptAs(id string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kept[id]
}

// find inspects the sandbox's container, and no other.
func (d *Driver) find(ctx context.Context, id string) (Found, error) {
	ref := d.keptAs(id)
	if ref == "" {
		ref = nameOf(id)
	}
	f, err := d.engine.Inspect(ctx, ref)
	if err != nil && !errors.Is(err, drivers.ErrNotFound) {
		return f, d.engine.Explain("inspect the container", err)
	}
	if err != nil || !d.known(f, id) {
		return Found{}, d.notFound(id)
	}
	return f, nil
}

// known says whether f is the sandbox's container: the one that is kept, else
// one that can only be ours, which is kept from now on.
func (d *Driver) known(f Found, id string) bool {
	// An engine also finds a container that was given the id for a name.
	if object := d.keptAs(id); object != "" {
		return f.ID == object
	}
	if !d.ours(f, id) {
		return false
	}
	d.Keep(id, f.ID)
	return true
}

// ours says whether a container of which nothing is kept is the sandbox's. An
// image can bring labels, but neither a name nor a mount of the share.
func (d *Driver) ours(f Found, id string) bool {
	spec := specOf(f)
	if spec == nil || spec.ID != id || spec.GatewayID != d.gateway || f.Name != nameOf(id) ||
		f.Labels[drivers.LabelGatewayID] != d.gateway || f.Labels[drivers.LabelSandboxID] != id {
		return false
	}
	writable, mounted := f.Writable[spec.Auth.Target()]
	return mounted && !writable && f.Sources[spec.Auth.Target()] == spec.Auth.Source()
}

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
	d.mu.Lock()
	u, failed := d.unstart[s.ID]
	d.mu.Unlock()
	if failed && f.State != drivers.Running {
		s.State, s.ExitCode, s.Reason, s.ExitedAt = drivers.Exited, u.code, firstLine(u.err), u.at
	}
	return s
}
