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
	// probeKept is how long a driver that could be used is not probed again.
	probeKept = 30 * time.Second
)

// probeCache keeps what was usable: a probe may take longer than the start of a
// container.
type probeCache struct {
	mu    sync.Mutex
	found map[string]probed
}

type probed struct {
	info drivers.Info
	at   time.Time
}

// probe says whether a driver can be used now, or could be a moment ago.
func (f *Fleet) probe(ctx context.Context, d drivers.Driver) drivers.Info {
	f.probes.mu.Lock()
	last, ok := f.probes.found[d.Name()]
	f.probes.mu.Unlock()
	if ok && time.Since(last.at) < probeKept {
		return last.info
	}
	return f.probeNow(ctx, d)
}

// probeNow asks the driver, and remembers a good answer.
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

// choose finds the driver for a request: the one that is named, or with auto
// the first in the order of preference that can be used and can do it.
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
		return nil, &api.Error{Code: api.CodeInvalid, Message: "an image is wanted, and what only a VM has: VMs run directories, not images",
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

// Pull fetches an image, and reports what the engine says of it.
type Pull func(ctx context.Context, report func(drivers.PullProgress)) error

// Pull prepares to fetch the image that a sandbox of this request would have, with the
// driver that it would get. It does nothing where there is nothing to fetch: whether the
// driver takes an image at all is for Resolve to say.
func (f *Fleet) Pull(ctx context.Context, q api.CreateRequest) (Pull, error) {
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
		return puller.Pull(ctx, q.Image, report)
	}, nil
}

// insteadOfVM adds to the refusal of an engine that needs an image why it was
// taken: nobody asked for it, and the VM that needs none can't be used.
func (f *Fleet) insteadOfVM(ctx context.Context, taken drivers.Driver, asked string, refusal error) error {
	first := slices.IndexFunc(f.opts.Drivers, func(d drivers.Driver) bool { return !takesImages(d) })
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

// candidates are the drivers that can do what is asked for, best first.
func candidates(all []drivers.Driver, q api.CreateRequest) []drivers.Driver {
	var fit []drivers.Driver
	forVM := q.Rootfs != "" || q.RequireJail || q.Hypervisor != auto && q.Hypervisor != ""
	for _, d := range all {
		if images := takesImages(d); images && !forVM || !images && q.Image == "" {
			fit = append(fit, d)
		}
	}
	return fit
}

// takesImages says that a driver's sandboxes come from images. Those of the others
// are VMs with a directory of the host as root.
func takesImages(d drivers.Driver) bool {
	_, pulls := d.(drivers.Puller)
	return pulls
}

func (f *Fleet) driverNames() []string {
	names := make([]string, 0, len(f.opts.Drivers))
	for _, d := range f.opts.Drivers {
		names = append(names, d.Name())
	}
	return names
}

// Doctor probes every driver and says which one auto takes, and why. What it says of the
// host is the caller's to add.
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
