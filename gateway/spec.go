package gateway

import (
	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// A sandbox is described three times: as the API is asked for it, as its record keeps
// it, and as its driver makes it. Here one is made of another.

// asRecorded is a request as a record keeps it.
func asRecorded(q api.CreateRequest) state.Request {
	var mounts []state.Mount
	for _, m := range q.Mounts {
		mounts = append(mounts, state.Mount(m))
	}
	return state.Request{
		Name: q.Name, Driver: q.Driver, Hypervisor: q.Hypervisor, Rootfs: q.Rootfs, Image: q.Image,
		Process: state.Process{Args: q.Process.Args, Env: q.Process.Env, Dir: q.Process.Dir,
			User: q.Process.User, Terminal: q.Process.Terminal, Size: state.Size(q.Process.Size)},
		Entrypoint: q.Entrypoint, Stdin: q.Stdin, Ephemeral: q.Ephemeral, AutoRemove: q.AutoRemove, RequireJail: q.RequireJail,
		CPUs: q.CPUs, Memory: q.Memory, Disk: q.Disk, Mounts: mounts, TTL: q.TTL, TokenUser: q.TokenUser,
	}
}

// asShown is a recorded process as people see it.
func asShown(p state.Process) api.Process {
	return api.Process{Args: p.Args, Env: p.Env, Dir: p.Dir, User: p.User, Terminal: p.Terminal, Size: api.Size(p.Size)}
}

// mountsShown are recorded mounts as people see them.
func mountsShown(mounts []state.Mount) (shown []api.Mount) {
	for _, m := range mounts {
		shown = append(shown, api.Mount(m))
	}
	return shown
}

// specOf is what the driver needs to make the sandbox. hidden are the
// directories that it must not see.
func specOf(r *state.Record, h *state.Home, authDir string) (drivers.Spec, error) {
	auth, err := drivers.NewMount(authDir, drivers.AuthDir)
	if err != nil {
		return drivers.Spec{}, err
	}
	mounts := make([]drivers.Mount, 0, len(r.Request.Mounts))
	for _, m := range r.Request.Mounts {
		mount, err := drivers.NewMount(m.Source, m.Target)
		if err != nil {
			return drivers.Spec{}, err
		}
		mounts = append(mounts, mount)
	}
	q := r.Request
	var entrypoint []string
	if q.Entrypoint != "" {
		entrypoint = []string{q.Entrypoint}
	}
	return drivers.Spec{
		ID: r.ID, Name: r.Name, GatewayID: h.ID, Dir: h.SandboxDir(r.ID),
		Auth: auth, Mounts: mounts, Hidden: h.Hidden(),
		Rootfs: q.Rootfs, Image: q.Image, Ephemeral: q.Ephemeral,
		Process: drivers.Process{Args: q.Process.Args, Env: q.Process.Env, Dir: q.Process.Dir,
			User: q.Process.User, Terminal: q.Process.Terminal, Size: drivers.Size(q.Process.Size), Entrypoint: entrypoint},
		Stdin: q.Stdin, CPUs: q.CPUs, Memory: q.Memory, Disk: q.Disk, TokenUser: q.TokenUser, Hypervisor: q.Hypervisor,
		RequireJail: q.RequireJail, AutoRemove: q.AutoRemove,
	}, nil
}

// fillIn takes over what the driver filled in.
func fillIn(r *state.Record, spec drivers.Spec) {
	q := &r.Request
	q.Rootfs, q.Image, q.Ephemeral, q.Hypervisor = spec.Rootfs, spec.Image, spec.Ephemeral, spec.Hypervisor
	q.CPUs, q.Memory, q.Disk, q.TokenUser = spec.CPUs, spec.Memory, spec.Disk, spec.TokenUser
	q.Process = state.Process{Args: spec.Process.Args, Env: spec.Process.Env, Dir: spec.Process.Dir,
		User: spec.Process.User, Terminal: spec.Process.Terminal, Size: state.Size(spec.Process.Size)}
}

// remember takes over what the sandbox was made with, as its engine keeps it.
func remember(r *state.Record, spec drivers.Spec) {
	fillIn(r, spec)
	q := &r.Request
	q.Stdin, q.AutoRemove, q.RequireJail = spec.Stdin, spec.AutoRemove, spec.RequireJail
	if entrypoint := spec.Process.Entrypoint; len(entrypoint) > 0 {
		q.Entrypoint = entrypoint[0]
	}
	for _, m := range spec.Mounts {
		q.Mounts = append(q.Mounts, state.Mount{Source: m.Source(), Target: m.Target()})
	}
}
