package gateway

import (
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/tokens"
)

// recordVersion is written into each record; a gateway refuses newer ones.
const recordVersion = 1

// Desired states. The reconciler moves a sandbox there.
const (
	wantRunning = "running"
	wantStopped = "stopped"
	wantGone    = "gone"
)

// Record is what is kept of one sandbox over the gateway's death. It holds no
// secret. A renewal never writes it, except to advance GenerationLimit.
//
// A Record is never changed in place: see Gateway.update.
type Record struct {
	Version   int       `json:"version"`
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Driver    string    `json:"driver"` // "" for a share of the user's own: see shares.go
	CreatedAt time.Time `json:"createdAt"`

	// Request is what was asked for, with what the driver filled in.
	Request api.CreateRequest `json:"request"`
	// Staleness is the driver's bound for this sandbox.
	Staleness time.Duration `json:"staleness"`
	Warnings  []string      `json:"warnings,omitempty"`

	// Share is the share's own directory, fixed for the sandbox's life. Place is the
	// same by its place in the state directory, if it lies there: that may be moved.
	Share string `json:"share"`
	Place string `json:"place,omitempty"`
	// GenerationLimit is the highest generation that may have been used. It is
	// advanced by generationStep before a higher one is used, so that numbers
	// grow even after the share itself was lost.
	GenerationLimit uint64 `json:"generationLimit"`

	// Made says that the driver's Create succeeded. A record without it is of a
	// creation that a killed gateway did not finish: it is taken back.
	Made bool `json:"made"`
	// Desired is running, stopped or gone, since DesiredAt.
	Desired   string    `json:"desired"`
	DesiredAt time.Time `json:"desiredAt"`
	// Start says under which circumstances the sandbox was started last.
	Start StartRecord `json:"start,omitzero"`
	// Object is the engine's own id of the sandbox, which decides where names and
	// labels only claim; "" where the driver is no drivers.Keeper, and in an
	// older gateway's record until the engine was asked.
	Object string `json:"object,omitempty"`
	// Engine is the address of the engine that has it, where the driver is
	// drivers.Placed; "" in an older gateway's record until the engine was asked.
	Engine string `json:"engine,omitempty"`
	// Lost is one line that says why the engine has the sandbox no more.
	Lost string `json:"lost,omitempty"`
}

// StartRecord is of one start.
type StartRecord struct {
	BootID string `json:"bootId"` // the host's, to tell a reboot from an end
	Share  Inode  `json:"share"`  // of the directory that was mounted
}

// Inode identifies the directory that a sandbox has mounted, whatever has come
// to its path since.
type Inode struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// generationStep is how far GenerationLimit is advanced at a time.
const generationStep = 1000

// ttl is the token lifetime. Older gateways took longer ones than are minted now.
func (r *Record) ttl() time.Duration { return min(r.Request.TTL, tokens.MaxTTL) }

// spec is what the driver needs to make the sandbox. hidden are the
// directories that it must not see.
func (r *Record) spec(h *Home, authDir string) (drivers.Spec, error) {
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
		ID: r.ID, Name: r.Name, GatewayID: h.ID, Dir: h.sandboxDir(r.ID),
		Auth: auth, Mounts: mounts, Hidden: h.hidden(),
		Rootfs: q.Rootfs, Image: q.Image, Ephemeral: q.Ephemeral,
		Process: drivers.Process{Args: q.Process.Args, Env: q.Process.Env, Dir: q.Process.Dir,
			User: q.Process.User, Terminal: q.Process.Terminal, Size: drivers.Size(q.Process.Size), Entrypoint: entrypoint},
		Stdin: q.Stdin, CPUs: q.CPUs, Memory: q.Memory, Disk: q.Disk, TokenUser: q.TokenUser, Hypervisor: q.Hypervisor,
		RequireJail: q.RequireJail, AutoRemove: q.AutoRemove,
	}, nil
}

// resolve takes over what the driver filled in.
func (r *Record) resolve(spec drivers.Spec) {
	q := &r.Request
	q.Rootfs, q.Image, q.Ephemeral, q.Hypervisor = spec.Rootfs, spec.Image, spec.Ephemeral, spec.Hypervisor
	q.CPUs, q.Memory, q.Disk, q.TokenUser = spec.CPUs, spec.Memory, spec.Disk, spec.TokenUser
	q.Process = api.Process{Args: spec.Process.Args, Env: spec.Process.Env, Dir: spec.Process.Dir,
		User: spec.Process.User, Terminal: spec.Process.Terminal, Size: api.Size(spec.Process.Size)}
}
