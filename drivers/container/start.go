package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/mounts"
)

// Start succeeds also where the command is missing or can't be executed: that is
// the workload's failure and not the engine's. The sandbox has exited with 127 or
// 126 then.
func (d *Driver) Start(ctx context.Context, id string) error {
	door := d.door(id)
	door.Lock()
	defer door.Unlock()
	f, err := d.find(ctx, id)
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
	d.forget(id)
	if err := noteStart(*spec); err != nil {
		return &drivers.Error{Op: "start the container", Err: err, Hint: "see that the state directory is there and has room"}
	}
	if err := d.engine.Start(ctx, f.ID); err != nil {
		return d.startFailed(ctx, *spec, err)
	}
	if err := d.verify(ctx, *spec, plan.judged); err != nil {
		_, _ = d.end(context.WithoutCancel(ctx), f.ID, 9, 10*time.Second)
		return err
	}
	if p := spec.Process; p.Terminal && p.Size != (drivers.Size{}) {
		// A workload that has ended already has no terminal any more.
		_ = d.engine.Resize(ctx, f.ID, p.Size)
	}
	return nil
}

// checkSources looks again at what may have changed since Create: a source
// that vanished, or one that shows a hidden directory now.
func (d *Driver) checkSources(ctx context.Context, spec drivers.Spec, f Found) (plan, error) {
	if err := checkSource(spec.Auth.Source()); err != nil {
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

// startFailed sorts an engine's refusal: the workload's own fault is remembered
// and told to those who are attached.
func (d *Driver) startFailed(ctx context.Context, spec drivers.Spec, err error) error {
	if code := execFailure(err); code != 0 {
		d.cannotRun(spec.ID, unstarted{code, err, time.Now()})
		return nil
	}
	err = d.explainMount("start the container", spec, err)
	d.failed.Tell(spec.ID, unstarted{0, err, time.Now()})
	return err
}

// explainMount sees whether a failure is about a source that this process
// can see and the engine cannot.
func (d *Driver) explainMount(op string, spec drivers.Spec, err error) error {
	if containsAny(err.Error(), "bind source path does not exist", "no such file or directory", "statfs ") {
		for _, m := range append([]drivers.Mount{spec.Auth}, spec.Mounts...) {
			if !containsAny(err.Error(), m.Source()) {
				continue
			}
			if vanished := checkSource(m.Source()); vanished != nil {
				return vanished
			}
			return d.elsewhere(m.Source(), "does not have it")
		}
	}
	if known := d.explainSubmounts(err, spec.Mounts); known != nil {
		return known
	}
	if known := explainProcess(op, err); known != nil {
		return known
	}
	if containsAny(err.Error(), "within the daemon root") {
		return &drivers.Error{Op: op, Err: fmt.Errorf("%s mounts no directory that contains its own data: %s", d.Name(), firstLine(err)),
			Hint: "mount the directories below it that the sandbox needs"}
	}
	if containsAny(err.Error(), `mounting "tmpfs"`) {
		return &drivers.Error{Op: op, Err: fmt.Errorf("a directory with keys or tokens can't be covered: %s", firstLine(err)),
			Hint: "mount a directory that does not contain openshell-vm's own"}
	}
	if containsAny(err.Error(), "force-recursive", "recursively read-only", "recursive read-only") {
		return &drivers.Error{Op: op, Err: errors.New(firstLine(err)),
			Hint: "a kernel of 5.12 or later is needed for mounts that are read-only with all submounts"}
	}
	return d.engine.Explain(op, err)
}

// explainSubmounts gives the line for a directory with mounts below it that an
// engine in a user namespace can't mount; nil if err is about something else. The
// kernel does not let it leave them out, because that would show what they cover.
func (d *Driver) explainSubmounts(err error, wanted []drivers.Mount) error {
	text := strings.ToLower(err.Error())
	if !containsAny(text, "mounting", "mount `") || !containsAny(text, "invalid argument") {
		return nil
	}
	table, failed := mounts.Read(mounts.Self)
	if failed != nil {
		return nil
	}
	for _, m := range wanted {
		if !containsAny(err.Error(), m.Source()) {
			continue
		}
		for _, e := range table {
			if mounts.Below(e.Point, m.Source()) {
				return &drivers.Error{Op: "mount " + m.Source(),
					Err:  fmt.Errorf("%s is mounted below it, which %s in a user namespace can neither leave out nor make read-only", e.Point, d.Name()),
					Hint: "mount directories that have no mounts below them, each by a --mount of its own"}
			}
		}
	}
	return nil
}

// elsewhere refuses an engine that does not see this host's directories.
func (d *Driver) elsewhere(source, how string) error {
	if blind, ok := d.engine.(Blind); ok {
		if hint := blind.BlindTo(source); hint != "" {
			return &drivers.Error{Op: "mount " + source, Err: fmt.Errorf("%s %s", d.Name(), how), Hint: hint}
		}
	}
	return &drivers.Error{
		Op:   "mount " + source,
		Err:  fmt.Errorf("%s %s: it runs on another machine or sees other mounts", d.Name(), how),
		Hint: fmt.Sprintf("use the %s of this machine, and a state directory outside /tmp", d.Name()),
	}
}

// cannotRun remembers u as the end of the sandbox.
func (d *Driver) cannotRun(id string, u unstarted) {
	d.mu.Lock()
	d.unstart[id] = u
	d.mu.Unlock()
	d.failed.Tell(id, u)
}

// forget is for a new start.
func (d *Driver) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.unstart, id)
}
