package sandbox

import (
	"cmp"
	"path/filepath"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox/request"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/vocab"
	"openshell-vm/share/layout"
)

// A sandbox is described in three forms: the API's request, the record, and the driver's
// Spec. This file converts between them.

// asRecorded converts a request to the record's form. It compiles only while the two types
// have the same fields. Their JSON may differ.
func asRecorded(q api.CreateRequest) state.Request { return state.Request(q) }

// specOf makes the driver's Spec from a record.
func specOf(r *state.Record, h *state.Home, authDir string) (spec drivers.Spec, err error) {
	q := r.Request
	spec = drivers.Spec{
		ID: r.ID, Name: r.Name, GatewayID: h.ID, Dir: h.SandboxDir(r.ID), Hidden: h.Hidden(),
		Process: q.Process, Stdin: q.Stdin, AutoRemove: q.AutoRemove, CPUs: q.CPUs, Memory: q.Memory,
		VM: drivers.VM{Hypervisor: q.Hypervisor, Rootfs: q.Rootfs, Ephemeral: q.Ephemeral, Disk: q.Disk,
			TokenUser: q.TokenUser, RequireJail: q.RequireJail, Inotify: q.Inotify,
			AllowHost: q.AllowHost, AllowEgress: q.AllowEgress},
		Image: q.Image, Entrypoint: q.Entrypoint,
		Network: q.Network, Ports: q.Ports,
		Labels: q.Labels, Restart: q.Restart, Tokens: q.Tokens,
	}
	if spec.VM.Hypervisor == request.Auto {
		spec.VM.Hypervisor = ""
	}
	if spec.Auth, err = drivers.NewMount(authDir, cmp.Or(q.At, drivers.AuthDir)); err != nil {
		return spec, err
	}
	for _, s := range q.Shares {
		// The name says which directory that is, and nothing else does.
		mount, err := drivers.NewMount(filepath.Join(h.NamedShare(s.Name), layout.Auth), s.Target)
		if err != nil {
			return spec, err
		}
		spec.Shares = append(spec.Shares, drivers.Share{Name: s.Name, Mount: mount})
	}
	if r.Door {
		if spec.Door, err = drivers.NewMount(r.DoorDir(), drivers.DoorDir); err != nil {
			return spec, err
		}
	}
	for _, m := range q.Mounts {
		if m.Volume != "" {
			m.Source = h.VolumeData(m.Volume)
		}
		if err := addMount(&spec, m); err != nil {
			return spec, err
		}
	}
	return spec, nil
}

func addMount(spec *drivers.Spec, m vocab.Mount) error {
	if m.Writable {
		w, err := drivers.NewWritable(m.Source, m.Target, m.Volume)
		spec.Writable = append(spec.Writable, w)
		return err
	}
	mount, err := drivers.NewVolume(m.Volume, m.Source, m.Target)
	spec.Mounts = append(spec.Mounts, mount)
	return err
}

// fillIn records what a driver's Resolve may have filled in.
func fillIn(r *state.Record, spec drivers.Spec) {
	q, vm := &r.Request, spec.VM
	q.Process, q.CPUs, q.Memory = spec.Process, spec.CPUs, spec.Memory
	q.Hypervisor, q.Rootfs, q.Ephemeral, q.Disk, q.TokenUser, q.RequireJail =
		vm.Hypervisor, vm.Rootfs, vm.Ephemeral, vm.Disk, vm.TokenUser, vm.RequireJail
	q.Inotify, q.AllowHost, q.AllowEgress = vm.Inotify, vm.AllowHost, vm.AllowEgress
	q.Image, q.Entrypoint = spec.Image, spec.Entrypoint
	q.Network, q.Ports = spec.Network, spec.Ports
}

// remember records the whole Spec that the sandbox was made with, as its engine keeps it. The
// sources of files are no part of it: they name commands of the host, and what an engine
// keeps others can have written.
//
// Of a share it is only believed where it is mounted, and only if it is this gateway's share of
// that name.
func remember(r *state.Record, h *state.Home, spec drivers.Spec) {
	fillIn(r, spec)
	q := &r.Request
	r.Door = spec.Door != drivers.Mount{}
	q.Stdin, q.AutoRemove = spec.Stdin, spec.AutoRemove
	q.Labels, q.Restart, q.Tokens = spec.Labels, spec.Restart, spec.Tokens
	if target := spec.Auth.Target(); target != drivers.AuthDir {
		q.At = target
	}
	for _, s := range spec.Shares {
		if state.CheckName(s.Name) == nil && s.Mount.Source() == filepath.Join(h.NamedShare(s.Name), layout.Auth) {
			q.Shares = append(q.Shares, vocab.ShownShare{Name: s.Name, Target: s.Mount.Target()})
		}
	}
	for _, m := range spec.Mounts {
		q.Mounts = append(q.Mounts, asGiven(vocab.Mount{Source: m.Source(), Target: m.Target(), Volume: m.Volume()}))
	}
	for _, w := range spec.Writable {
		q.Mounts = append(q.Mounts, asGiven(vocab.Mount{Source: w.Source(), Target: w.Target(), Volume: w.Volume(), Writable: true}))
	}
}

// asGiven drops a volume's directory: the state directory may be moved.
func asGiven(m vocab.Mount) vocab.Mount {
	if m.Volume != "" {
		m.Source = ""
	}
	return m
}
