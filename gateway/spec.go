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
	hypervisor := q.Hypervisor
	if hypervisor == auto {
		hypervisor = ""
	}
	return drivers.Spec{
		ID: r.ID, Name: r.Name, GatewayID: h.ID, Dir: h.SandboxDir(r.ID),
		Auth: auth, Mounts: mounts, Hidden: h.Hidden(),
		Process: drivers.Process{Args: q.Process.Args, Env: q.Process.Env, Dir: q.Process.Dir,
			User: q.Process.User, Terminal: q.Process.Terminal, Size: drivers.Size(q.Process.Size)},
		Stdin: q.Stdin, CPUs: q.CPUs, Memory: q.Memory, AutoRemove: q.AutoRemove,
		VM: drivers.VM{Hypervisor: hypervisor, Rootfs: q.Rootfs, Ephemeral: q.Ephemeral, Disk: q.Disk,
			TokenUser: q.TokenUser, RequireJail: q.RequireJail},
		Container: drivers.Container{Image: q.Image, Entrypoint: q.Entrypoint},
	}, nil
}

// fillIn takes over what the driver may have filled in.
func fillIn(r *state.Record, spec drivers.Spec) {
	q, vm, container := &r.Request, spec.VM, spec.Container
	q.CPUs, q.Memory = spec.CPUs, spec.Memory
	q.Hypervisor, q.Rootfs, q.Ephemeral, q.Disk, q.TokenUser, q.RequireJail =
		vm.Hypervisor, vm.Rootfs, vm.Ephemeral, vm.Disk, vm.TokenUser, vm.RequireJail
	q.Image, q.Entrypoint = container.Image, container.Entrypoint
	q.Process = state.Process{Args: spec.Process.Args, Env: spec.Process.Env, Dir: spec.Process.Dir,
		User: spec.Process.User, Terminal: spec.Process.Terminal, Size: state.Size(spec.Process.Size)}
}

// remember takes over what the sandbox was made with, as its engine keeps it.
func remember(r *state.Record, spec drivers.Spec) {
	fillIn(r, spec)
	q := &r.Request
	q.Stdin, q.AutoRemove = spec.Stdin, spec.AutoRemove
	for _, m := range spec.Mounts {
		q.Mounts = append(q.Mounts, state.Mount{Source: m.Source(), Target: m.Target()})
	}
}
