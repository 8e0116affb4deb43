package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
	"openshell-vm/share/layout"
	"openshell-vm/tokens"
)

// Create makes a sandbox, its record and its share with a first token. It does not start
// the sandbox. If it fails or its caller goes away, all is removed again, if need be later
// by the reconciler.
func (f *Fleet) Create(ctx context.Context, q api.CreateRequest) (*Sandbox, error) {
	if err := checkRequest(&q); err != nil {
		return nil, err
	}
	driver, err := f.choose(ctx, q)
	if err != nil {
		return nil, err
	}
	leave, err := f.engines[driver.Name()].enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if q.Ports, err = f.choosePorts(driver.Name(), q.Ports); err != nil {
		return nil, err
	}
	id := state.NewID()
	r := &state.Record{Version: state.Version, ID: id, Name: q.Name, Driver: driver.Name(), CreatedAt: time.Now(), Request: asRecorded(q),
		Share: filepath.Join(f.home.Shares, id), GenerationLimit: state.GenerationStep}
	r.Want(state.WantStopped)
	release, err := f.opts.Volumes.Claim(q.Mounts)
	if err != nil {
		return nil, err
	}
	made := false
	defer func() { release(made) }()
	spec, err := f.resolve(ctx, driver, r)
	if err == nil {
		err = checkInRoot(ctx, driver, spec, q.Rootfs != "")
	}
	if err != nil {
		return nil, err
	}
	s, err := f.sandbox(r)
	if err == nil {
		err = s.create(ctx, spec)
	}
	if err != nil {
		return nil, err
	}
	made = true
	return s, nil
}

// create makes what was resolved, or removes all of it again.
func (s *Sandbox) create(ctx context.Context, spec drivers.Spec) error {
	if err := s.Op.Lock(ctx); err != nil { // free: nobody else knows it yet
		return err
	}
	defer s.Release()
	ctx, done := s.Op.Cancellable(ctx, starting)
	defer done()
	if err := s.fleet.roster.Add(s.Item); err != nil {
		return err
	}
	spec.Name = s.Rec().Name // Add may have made the name up
	err := s.makeAll(ctx, spec)
	if err == nil {
		err = context.Cause(ctx) // if the caller has gone, nobody knows of the sandbox
	}
	if err != nil {
		s.unmake(context.WithoutCancel(ctx))
		return roster.Ended(ctx, err)
	}
	s.Set(func() { s.touched = time.Now() })
	return nil
}

// resolve lets the driver check and complete the request. For every driver it also checks
// what the mounts expose, and that the token lives long enough.
func (f *Fleet) resolve(ctx context.Context, driver drivers.Driver, r *state.Record) (drivers.Spec, error) {
	spec, err := specOf(r, f.home, filepath.Join(r.Share, layout.Auth))
	if err != nil {
		return spec, explain.Invalid(err)
	}
	if err := checkSources(spec); err != nil {
		return spec, explain.Invalid(err)
	}
	spec, staleness, err := driver.Resolve(ctx, spec)
	if errors.Is(err, drivers.ErrNoImage) {
		err = f.insteadOfVM(ctx, driver, r.Request.Driver, err)
	}
	if err != nil {
		return spec, explain.Invalid(err)
	}
	warning, err := explain.TTL(r.TTL(), staleness)
	if err != nil {
		return spec, explain.Invalid(err)
	}
	if warning != "" {
		r.Warnings = append(r.Warnings, warning)
	}
	if placed, ok := driver.(drivers.Placed); ok {
		if _, note := placed.Place(); note != "" {
			r.Warnings = append(r.Warnings, note)
		}
	}
	r.Staleness = staleness
	fillIn(r, spec)
	return spec, nil
}

// makeAll makes what belongs to the sandbox, on disk and in the engine.
func (s *Sandbox) makeAll(ctx context.Context, spec drivers.Spec) error {
	if err := s.Begin(ctx); err != nil {
		return err
	}
	driver := s.engine.driver
	if err := driver.Create(ctx, spec); err != nil {
		return err
	}
	s.Set(func() { s.status = drivers.Status{ID: s.ID, State: drivers.Created} })
	object, engine := objectOf(ctx, driver, s.ID), keepPlace(driver, s.ID)
	err := s.Update(func(r *state.Record) { r.Made, r.Object, r.Engine = true, object, engine })
	if err == nil {
		s.Tell(api.EventCreated, "driver", driver.Name(), "image", spec.Image)
	}
	return err
}

// keepPlace returns the address of the engine in which a sandbox was just made or seen, and
// tells the driver to remember it. It returns "" if the driver has only one engine.
func keepPlace(driver drivers.Driver, id string) string {
	placed, ok := driver.(drivers.Placed)
	if !ok {
		return ""
	}
	address, _ := placed.Place()
	placed.KeepPlace(id, address)
	return address
}

// objectOf asks for the engine's own id of what was just made. It returns "" if the driver
// has no such ids, or if the engine did not answer: then the next look records the id.
func objectOf(ctx context.Context, driver drivers.Driver, id string) string {
	if _, ok := driver.(drivers.Keeper); !ok {
		return ""
	}
	status, err := driver.Inspect(ctx, id)
	if err != nil {
		return ""
	}
	return status.Object
}

// unmake erases what a failed creation left. If it fails, the reconciler tries again.
func (s *Sandbox) unmake(ctx context.Context) {
	s.Set(func() { s.touched = time.Now() })
	if err := s.erase(ctx); err != nil {
		s.fleet.log.Warn("a failed creation is not taken back yet", "sandbox", s.ID, "error", explain.Line(err))
	}
}

// checkRequest refuses what no driver could do, and fills in defaults.
func checkRequest(q *api.CreateRequest) error {
	if q.Name != "" {
		if err := state.CheckName(q.Name); err != nil {
			return err
		}
	}
	if q.TTL == 0 {
		q.TTL = tokens.DefaultTTL
	}
	q.Hypervisor = cmp.Or(q.Hypervisor, auto)
	if !slices.Contains(api.Hypervisors, q.Hypervisor) {
		return &api.Error{Code: api.CodeInvalid,
			Message: fmt.Sprintf("there is no hypervisor %q", q.Hypervisor),
			Hint:    "use one of " + strings.Join(api.Hypervisors, ", ")}
	}
	if q.Rootfs != "" && q.Image != "" {
		return &api.Error{Code: api.CodeInvalid, Message: "both a rootfs and an image are given", Hint: "use one of --rootfs and --image"}
	}
	for _, variable := range q.Process.Env {
		if name, _, ok := strings.Cut(variable, "="); !ok || name == "" || strings.ContainsRune(variable, 0) {
			return &api.Error{Code: api.CodeInvalid,
				Message: fmt.Sprintf("the environment entry %q is malformed", variable),
				Hint:    "use --env NAME=VALUE"}
		}
	}
	if err := checkDir(q.Process.Dir); err != nil {
		return err
	}
	if err := checkLabels(q.Labels); err != nil {
		return err
	}
	if err := checkRestart(q); err != nil {
		return err
	}
	if err := checkMounts(q.Mounts); err != nil {
		return err
	}
	if err := checkPorts(q); err != nil {
		return err
	}
	if q.CPUs < 0 || q.Memory < 0 || q.Disk < 0 {
		return &api.Error{Code: api.CodeInvalid, Message: "CPUs, memory and disk can't be negative", Hint: "leave them out for the defaults"}
	}
	return nil
}

// checkDir refuses a relative working directory: its meaning would depend on the engine.
func checkDir(dir string) error {
	if dir == "" || path.IsAbs(dir) {
		return nil
	}
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the working directory %q is no absolute path", dir),
		Hint: "give the whole path inside the sandbox: --workdir /" + dir}
}

// checkSources refuses sources that are no directories, or that would expose the gateway's
// own. Drivers check this too. It is done here once more because a driver that forgot it
// would expose all keys.
func checkSources(spec drivers.Spec) error {
	if root := spec.VM.Rootfs; root != "" {
		if _, err := drivers.Judge("use the root directory", root, spec.Hidden); err != nil {
			return err
		}
	}
	if _, err := drivers.JudgeMounts(spec); err != nil {
		return err
	}
	_, err := drivers.JudgeWritable(spec)
	return err
}
