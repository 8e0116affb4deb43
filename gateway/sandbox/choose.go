package sandbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// auto leaves a choice to the gateway or the driver.
const auto = "auto"

const (
	probeDeadline = 10 * time.Second
	// probeKept is how long a probe's result holds, if the driver was usable.
	probeKept = 30 * time.Second
)

// probeCache keeps the probes of usable drivers. A probe may take longer than the start of
// a container.
type probeCache struct {
	mu    sync.Mutex
	found map[string]probed
}

type probed struct {
	info drivers.Info
	at   time.Time
}

// probe returns what a driver's probe found now, or less than probeKept ago.
func (f *Fleet) probe(ctx context.Context, d drivers.Driver) drivers.Info {
	f.probes.mu.Lock()
	last, ok := f.probes.found[d.Name()]
	f.probes.mu.Unlock()
	if ok && time.Since(last.at) < probeKept {
		return last.info
	}
	return f.probeNow(ctx, d)
}

// probeNow probes the driver, and keeps the result if the driver is usable.
func (f *Fleet) probeNow(ctx context.Context, d drivers.Driver) drivers.Info {
	bounded, cancel := context.WithTimeout(ctx, probeDeadline)
	defer cancel()
	info := d.Probe(bounded)
	f.probes.mu.Lock()
	defer f.probes.mu.Unlock()
	if f.probes.found == nil {
		f.probes.found = map[string]probed{}
	}
	delete(f.probes.found, d.Name())
	if info.Usable {
		f.probes.found[d.Name()] = probed{info, time.Now()}
	}
	return info
}

// choose finds the driver for a request. That is the named one. With auto it is the first
// in the order of preference that can do what is asked for and is usable.
func (f *Fleet) choose(ctx context.Context, q api.CreateRequest) (drivers.Driver, error) {
	if q.Driver != auto && q.Driver != "" {
		if e := f.engines[q.Driver]; e != nil {
			return e.driver, nil
		}
		return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("there is no driver %q", q.Driver),
			Hint: "use one of " + strings.Join(append([]string{auto}, f.driverNames()...), ", ")}
	}
	fit := candidates(f.opts.Drivers, q)
	if len(fit) == 0 {
		return nil, &api.Error{Code: api.CodeInvalid, Message: "an image is wanted, and what only a VM has: no driver here has both",
			Hint: "give --rootfs DIR for --image, or leave out --hypervisor and --require-jail"}
	}
	refusal := &api.Error{Code: api.CodeDriver, Message: "no driver can be used here", Hint: "openshell-vm doctor says what is missing"}
	for i, d := range fit {
		info := f.probe(ctx, d)
		if info.Usable {
			return d, nil
		}
		refusal.Message += fmt.Sprintf("; %s: %s", d.Name(), info.Problem)
		if i == 0 && info.Hint != "" {
			refusal.Hint = info.Hint
		}
	}
	return nil, refusal
}

// Pull fetches an image. It calls report with the engine's progress.
type Pull func(ctx context.Context, report func(drivers.PullProgress)) error

// Pull checks a request, chooses its driver, and returns a function that fetches its image.
// The function does nothing if the request has no image or the driver takes none. A driver
// that takes no image refuses one in Resolve.
func (f *Fleet) Pull(ctx context.Context, q api.CreateRequest, policy api.PullPolicy) (Pull, error) {
	if policy != api.PullMissing && policy != api.PullAlways && policy != api.PullNever {
		return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("there is no policy %q for images", policy), Hint: "use always, missing or never"}
	}
	if err := checkRequest(&q); err != nil {
		return nil, err
	}
	driver, err := f.choose(ctx, q)
	if err != nil {
		return nil, err
	}
	puller, ok := driver.(drivers.Puller)
	if !ok || q.Image == "" {
		return func(context.Context, func(drivers.PullProgress)) error { return nil }, nil
	}
	return func(ctx context.Context, report func(drivers.PullProgress)) error {
		return puller.Pull(ctx, q.Image, policy, report)
	}, nil
}

// insteadOfVM is for a driver that auto chose and that refuses because no image is given.
// If it was chosen only because no VM can be used, the returned error says so.
func (f *Fleet) insteadOfVM(ctx context.Context, taken drivers.Driver, asked string, refusal error) error {
	first := slices.IndexFunc(f.opts.Drivers, func(d drivers.Driver) bool { return !needsImage(d) })
	if asked != auto && asked != "" || first < 0 {
		return refusal
	}
	info := f.probe(ctx, f.opts.Drivers[first])
	if info.Usable {
		return refusal
	}
	return &drivers.Error{Err: fmt.Errorf("a VM can't be used here: %s; %s was taken, which needs an image", info.Problem, taken.Name()),
		Hint: drivers.HintOf(refusal) + "; for a VM, openshell-vm doctor says what is missing"}
}

// candidates returns the drivers that can do what is asked for, in the order of preference.
func candidates(all []drivers.Driver, q api.CreateRequest) []drivers.Driver {
	var fit []drivers.Driver
	forVM := q.Rootfs != "" || q.RequireJail || q.Hypervisor != auto && q.Hypervisor != ""
	for _, d := range all {
		_, images := d.(drivers.Puller)
		if forVM && needsImage(d) || q.Image != "" && !images {
			continue
		}
		fit = append(fit, d)
	}
	return fit
}

// needsImage reports whether a driver makes its sandboxes from images only. All others are
// drivers of VMs: they also take a directory of the host, or have a root of their own.
func needsImage(d drivers.Driver) bool {
	_, pulls := d.(drivers.Puller)
	_, stocks := d.(drivers.Stocker)
	return pulls && !stocks
}

func (f *Fleet) driverNames() []string {
	names := make([]string, 0, len(f.opts.Drivers))
	for _, d := range f.opts.Drivers {
		names = append(names, d.Name())
	}
	return names
}

// Doctor probes every driver, and says which one auto takes and why. The caller adds the
// facts on the host.
func (f *Fleet) Doctor(ctx context.Context) api.Doctor {
	reports := make([]api.DriverReport, len(f.opts.Drivers))
	var all sync.WaitGroup
	for i, d := range f.opts.Drivers {
		all.Go(func() { reports[i] = f.report(d.Name(), f.probeNow(ctx, d)) })
	}
	all.Wait()
	doctor := api.Doctor{Drivers: reports, Why: "no driver can be used here"}
	for i, r := range reports {
		if r.Usable {
			doctor.Chosen, doctor.Why = r.Name, "it is preferred and can be used"
			if i > 0 {
				doctor.Why = fmt.Sprintf("it can be used, and %s can't: %s", reports[0].Name, reports[0].Problem)
			}
			break
		}
	}
	return doctor
}

func (f *Fleet) report(name string, info drivers.Info) api.DriverReport {
	return api.DriverReport{Name: name, Usable: info.Usable, Problem: info.Problem, Hint: info.Hint, Version: info.Version,
		Details: slices.Concat(info.Details, f.opts.Beside(info))}
}
