package state

import (
	"path/filepath"
	"time"

	"openshell-vm/internal/vocab"
	"openshell-vm/tokens"
)

// Version is written into each record. A gateway refuses records with a higher one.
const Version = 1

// GenerationStep is how far a record's GenerationLimit is advanced at a time.
const GenerationStep = 1000

// Desired states. The reconciler brings a sandbox there.
const (
	WantRunning = vocab.WantRunning
	WantStopped = vocab.WantStopped
	WantGone    = vocab.WantGone
)

// Record is what a gateway keeps of one sandbox on disk. It holds no secret. A renewal never
// writes it, except to advance GenerationLimit.
//
// A Record is never changed in place: to change one, save a changed copy.
//
// Its types are its own or those of package vocab, and their JSON is the format on disk. So
// a renaming in the API does not change that format. A field never changes its meaning. A
// new field is left out while it is zero, so that older gateways' records keep their meaning.
type Record struct {
	Version   int       `json:"version"`
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Driver    string    `json:"driver"` // "" for a share of the user's own: ask Own
	CreatedAt time.Time `json:"createdAt"`

	// Request is what the user asked for, with what the driver filled in.
	Request Request `json:"request"`
	// Staleness is the driver's bound for this sandbox. For a share of the user's own it is the
	// largest of those that ever showed it.
	Staleness time.Duration `json:"staleness"`
	Warnings  []string      `json:"warnings,omitempty"`

	// Share is the share's own directory, fixed for the sandbox's life. If it lies in the
	// state directory, which may be moved, Place is its path in there.
	Share string `json:"share"`
	Place string `json:"place,omitempty"`
	// Door says that the sandbox was made with a socket of the gateway's: see Record.DoorDir.
	Door bool `json:"door,omitempty"`
	// GenerationLimit is the highest generation that may have been used. It is advanced
	// before a higher one is used, by many at a time. So numbers grow even after the share
	// itself was lost.
	GenerationLimit uint64 `json:"generationLimit"`
	// RevokedGeneration is the last generation whose tokens the user revoked; 0 for none.
	RevokedGeneration uint64 `json:"revokedGeneration,omitempty"`

	// Made is true once the driver's Create has succeeded. Without it the gateway was killed
	// during a creation, and the next one undoes that.
	Made bool `json:"made"`
	// Desired is running, stopped or gone, since DesiredAt.
	Desired   string    `json:"desired"`
	DesiredAt time.Time `json:"desiredAt"`
	// Start is about the sandbox's last start.
	Start StartRecord `json:"start,omitzero"`
	// Object is the engine's own id of the sandbox. Names and labels prove nothing, this id
	// does. It is "" if the driver is no drivers.Keeper, and in an older gateway's record
	// until the engine was asked.
	Object string `json:"object,omitempty"`
	// Engine is the address of the sandbox's engine, if the driver is drivers.Placed. It is
	// "" in an older gateway's record until the engine was asked.
	Engine string `json:"engine,omitempty"`
	// Lost says in one line why the engine does not have the sandbox any more.
	Lost string `json:"lost,omitempty"`
}

// Request is what a sandbox was made with. For a share of the user's own it has only the name,
// the lifetime and the tokens. Its fields are those of the API's CreateRequest, so that the gateway can
// convert one to the other.
type Request struct {
	Name        string        `json:"name,omitempty"` // as the user gave it; Record.Name is the one that counts
	Driver      string        `json:"driver"`         // as the user gave it, so it may be auto
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
	TTL         time.Duration `json:"ttl,omitempty"` // ns; use Record.TTL instead
	TokenUser   string        `json:"tokenUser,omitempty"`
	Inotify     bool          `json:"inotify,omitempty"`

	Network     string       `json:"network,omitempty"`
	AllowHost   []uint16     `json:"allowHost,omitempty"`
	AllowEgress []string     `json:"allowEgress,omitempty"`
	Ports       []vocab.Port `json:"ports,omitempty"`

	Labels  map[string]string   `json:"labels,omitempty"`
	Restart vocab.RestartPolicy `json:"restart,omitzero"`

	Tokens  vocab.Tokens   `json:"tokens,omitzero"`
	Sources []vocab.Source `json:"sources,omitempty"`

	At      string             `json:"at,omitempty"`
	Shares  []vocab.ShownShare `json:"shares,omitempty"`
	OnRenew vocab.OnRenew      `json:"onRenew,omitzero"`
}

// StartRecord is about one start.
type StartRecord struct {
	BootID string `json:"bootId"` // the host's, to tell a reboot from an end; a stop by the user is noted here too
	Share  Inode  `json:"share"`  // of the directory that was mounted
	// Restarts counts those by the restart policy, since a user started the sandbox.
	Restarts int `json:"restarts,omitempty"`
	// Generation is the one with which it started. It is kept only if Request.OnRenew is set.
	Generation uint64 `json:"generation,omitempty"`
}

// TTL returns the token lifetime. Older gateways accepted longer ones than are minted now.
func (r *Record) TTL() time.Duration { return min(r.Request.TTL, tokens.MaxTTL) }

// DoorDir is the directory with the sandbox's own socket of the gateway. It lies beside the
// shares, on the same file system: it has to stay as long as the share does.
func (r *Record) DoorDir() string {
	return filepath.Join(filepath.Dir(filepath.Dir(r.Share)), doorsDir, r.ID)
}

// Own reports whether the record is that of a share of the user's own, not of a sandbox.
func (r *Record) Own() bool { return r.Driver == "" }

// Kept reports whether the share is there and renewed. That holds for all but those that are
// being made or removed, or that were lost.
func (r *Record) Kept() bool { return r.Made && r.Desired != WantGone && r.Lost == "" }

// Want changes the desired state.
func (r *Record) Want(desired string) { r.Desired, r.DesiredAt = desired, time.Now() }
