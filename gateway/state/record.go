package state

import (
	"time"

	"openshell-vm/internal/vocab"
	"openshell-vm/tokens"
)

// Version is written into each record; a gateway refuses newer ones.
const Version = 1

// GenerationStep is how far a record's GenerationLimit is advanced at a time.
const GenerationStep = 1000

// Desired states. The reconciler moves a sandbox there.
const (
	WantRunning = vocab.WantRunning
	WantStopped = vocab.WantStopped
	WantGone    = vocab.WantGone
)

// Record is what is kept of one sandbox over the gateway's death. It holds no
// secret. A renewal never writes it, except to advance GenerationLimit.
//
// It is never changed in place: who changes one saves a copy.
//
// Its types are its own, or words of package vocab, and their JSON is the format on
// disk: nothing that the API renames changes it. What a field means stays with it for
// ever. One that is new is left out while it is zero, so that what older gateways wrote
// is read as they meant it.
type Record struct {
	Version   int       `json:"version"`
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Driver    string    `json:"driver"` // "" for a share of the user's own: ask Own
	CreatedAt time.Time `json:"createdAt"`

	// Request is what was asked for, with what the driver filled in.
	Request Request `json:"request"`
	// Staleness is the driver's bound for this sandbox.
	Staleness time.Duration `json:"staleness"`
	Warnings  []string      `json:"warnings,omitempty"`

	// Share is the share's own directory, fixed for the sandbox's life. Place is the
	// same by its place in the state directory, if it lies there: that may be moved.
	Share string `json:"share"`
	Place string `json:"place,omitempty"`
	// GenerationLimit is the highest generation that may have been used. It is
	// advanced, by many at a time, before a higher one is used, so that numbers
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

// Request is what a sandbox was made with. Of a share of the user's own there is
// only the name and the lifetime. As long as its fields are those of the API's
// CreateRequest, the gateway converts one to the other.
type Request struct {
	Name        string        `json:"name,omitempty"` // as it was asked for; the record's is the one that counts
	Driver      string        `json:"driver"`         // as it was asked for: it may be auto
	Hypervisor  string        `json:"hypervisor"`
	Rootfs      string        `json:"rootfs,omitempty"`
	Image       string        `json:"image,omitempty"`
	Process     vocab.Process `json:"process"`
	Entrypoint  string        `json:"entrypoint,omitempty"`
	Stdin       bool          `json:"stdin,omitempty"`
	Ephemeral   bool          `json:"ephemeral,omitempty"`
	AutoRemove  bool          `json:"autoRemove,omitempty"`
	RequireJail bool          `json:"requireJail,omitempty"`
	CPUs        float64       `json:"cpus,omitempty"`
	Memory      int64         `json:"memory,omitempty"` // bytes
	Disk        int64         `json:"disk,omitempty"`   // bytes
	Mounts      []vocab.Mount `json:"mounts,omitempty"`
	TTL         time.Duration `json:"ttl,omitempty"` // ns; ask Record.TTL
	TokenUser   string        `json:"tokenUser,omitempty"`
}

// StartRecord is of one start.
type StartRecord struct {
	BootID string `json:"bootId"` // the host's, to tell a reboot from an end
	Share  Inode  `json:"share"`  // of the directory that was mounted
}

// TTL is the token lifetime. Older gateways took longer ones than are minted now.
func (r *Record) TTL() time.Duration { return min(r.Request.TTL, tokens.MaxTTL) }

// Own says that the record is of a share of the user's own, not of a sandbox.
func (r *Record) Own() bool { return r.Driver == "" }

// Kept says that the share is there and is renewed: all are but those that are
// being made or removed, or that were lost.
func (r *Record) Kept() bool { return r.Made && r.Desired != WantGone && r.Lost == "" }

// Want changes the desired state.
func (r *Record) Want(desired string) { r.Desired, r.DesiredAt = desired, time.Now() }
