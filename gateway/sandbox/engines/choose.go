package engines

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox/request"
)

// Choose finds the driver for a request. That is the named one. With auto it is the first
// in the order of preference that can do what is asked for and is usable.
func (e *Engines) Choose(ctx context.Context, q api.CreateRequest) (drivers.Driver, error) {
	if q.Driver != request.Auto && q.Driver != "" {
		if d := e.named(q.Driver); d != nil {
			return d, nil
		}
		return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("there is no driver %q", q.Driver),
			Hint: "use one of " + strings.Join(append([]string{request.Auto}, e.names()...), ", ")}
	}
	fit := candidates(e.all, q)
	if len(fit) == 0 {
		return nil, &api.Error{Code: api.CodeInvalid, Message: "an image is wanted, and what only a VM has: no driver here has both",
			Hint: "give --rootfs DIR for --image, or leave out --hypervisor and --require-jail"}
	}
	refusal := &api.Error{Code: api.CodeDriver, Message: "no driver can be used here", Hint: "openshell-vm doctor says what is missing"}
	for i, d := range fit {
		info := e.probe(ctx, d)
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

// InsteadOfVM is for a driver that auto chose and that refuses because no image is given.
// If it was chosen only because no VM can be used, the returned error says so.
func (e *Engines) InsteadOfVM(ctx context.Context, taken drivers.Driver, asked string, refusal error) error {
	first := slices.IndexFunc(e.all, func(d drivers.Driver) bool { return !needsImage(d) })
	if asked != request.Auto && asked != "" || first < 0 {
		return refusal
	}
	info := e.probe(ctx, e.all[first])
	if info.Usable {
		return refusal
	}
	return &drivers.Error{Err: fmt.Errorf("a VM can't be used here: %s; %s was taken, which needs an image", info.Problem, taken.Name()),
		Hint: drivers.HintOf(refusal) + "; for a VM, openshell-vm doctor says what is missing"}
}

// candidates returns the drivers that can do what is asked for, in the order of preference.
func candidates(all []drivers.Driver, q api.CreateRequest) []drivers.Driver {
	var fit []drivers.Driver
	forVM := q.Rootfs != "" || q.RequireJail || q.Inotify || q.Hypervisor != request.Auto && q.Hypervisor != ""
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
