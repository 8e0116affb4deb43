// Package drivers defines what a driver for a sandbox engine must do.
//
// A driver exposes host directories to a sandbox and runs it. It has no token logic: it
// never reads, writes, mints or waits for a token. The gateway publishes before it calls
// Start, and again while the sandbox runs. The one thing that a driver tells the gateway
// about freshness is its staleness bound: see Resolve.
//
// What a driver does not do: it does not restart anything by itself, does not order the
// calls for one sandbox (the gateway does), and keeps no record beside what its engine
// keeps.
package drivers

import (
	"context"
	"io"
	"time"

	"openshell-vm/internal/stream"
	"openshell-vm/internal/vocab"
)

// Driver runs sandboxes on one engine. Start, Stop and Remove are idempotent: starting what
// runs, stopping what is stopped and removing what is gone succeed. Methods may be called
// concurrently for different sandboxes. For one sandbox the gateway calls Create, Start,
// Stop and Remove one at a time; Inspect, List and the optional interfaces may be called at
// any time.
type Driver interface {
	// Name is the word users type: "vm", "docker" or "podman".
	Name() string

	// Probe finds out whether the engine can be used now. If not, Info.Problem says why.
	Probe(ctx context.Context) Info

	// Resolve refuses a spec that cannot work here (rootfs missing, more memory
	// than there is, no usable hypervisor) before anything is made. It fills in
	// what was left to the driver. staleness bounds how long this sandbox may still
	// see the generation before the current one: 1 s for docker, podman and vm/qemu,
	// 6 s for vm/krun. These are measured bounds with a margin. Token lifetimes are
	// checked against it. Create takes the resolved Spec, and so does a later Resolve.
	Resolve(ctx context.Context, spec Spec) (resolved Spec, staleness time.Duration, err error)

	// Create makes the sandbox in the engine. Nothing runs yet. It fails with
	// ErrExists if the engine has one with this ID.
	Create(ctx context.Context, spec Spec) error

	// Start runs a created or stopped sandbox. It returns once the workload has been
	// started. If it was not started, the error says why.
	Start(ctx context.Context, id string) error

	// Stop asks the workload to end (SIGTERM), and kills it after grace. If grace is 0
	// it kills the workload at once.
	Stop(ctx context.Context, id string, grace time.Duration) error

	// Remove ends the sandbox at once and removes all that Create and Start made. It
	// does not touch the share, which belongs to the gateway.
	Remove(ctx context.Context, id string) error

	// Inspect reports what the engine sees. It fails with ErrNotFound if the engine has
	// no sandbox with this ID.
	Inspect(ctx context.Context, id string) (Status, error)

	// List reports every sandbox of this gateway that the engine has, also those whose
	// record the gateway lost. It finds them by label, or by their directories. It
	// leaves out a sandbox that the engine can't describe: Inspect says why.
	List(ctx context.Context) ([]Status, error)
}

// Logger is a driver that keeps the workload's output.
type Logger interface {
	// Logs writes the stored output since the last start to the two writers. With
	// follow it goes on until the sandbox stops or ctx ends. All output of a sandbox
	// with a terminal is on stdout.
	Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error
}

// Attacher is a driver that can connect to a sandbox's standard streams.
type Attacher interface {
	// Attach connects the streams until the workload ends, and returns its exit code.
	// If it is called before Start, it waits for the start and no output is lost. With
	// replay it first writes the output since the start. When ctx is cancelled it
	// detaches; the sandbox goes on running.
	Attach(ctx context.Context, id string, replay bool, s Streams) (exitCode int, err error)
}

// Execer is a driver that can run a further command in a running sandbox.
type Execer interface {
	// Exec runs p and returns its exit code. 126 and 127 mean what they mean for docker
	// exec: not executable, not found. When ctx is cancelled the command is killed.
	Exec(ctx context.Context, id string, p Process, s Streams) (exitCode int, err error)
}

// Signaler is a driver that can send the workload a signal.
type Signaler interface {
	// Signal sends signal number sig to the workload's main process.
	Signal(ctx context.Context, id string, sig int) error
}

// Waiter is a driver that learns of a sandbox's end without polling. For all other drivers
// the gateway polls Inspect.
type Waiter interface {
	// Wait returns the Status once the sandbox no longer runs.
	Wait(ctx context.Context, id string) (Status, error)
}

// Updater is a driver that can change the limits of a sandbox it has made.
type Updater interface {
	// Update gives the sandbox the CPUs and the memory of a resolved Spec. now is true if a
	// running sandbox has them at once; otherwise it gets them at its next start.
	Update(ctx context.Context, spec Spec) (now bool, err error)
}

// LongStarter is a driver whose Start may need longer than the gateway's usual deadline. It
// ends a start that makes no progress by itself.
type LongStarter interface {
	// LongestStart bounds one Start.
	LongestStart() time.Duration
}

// Puller is a driver whose sandboxes come from images that can be fetched.
type Puller interface {
	// Pull fetches an image. report may be nil. It is called while layers arrive, one call at
	// a time. Create fetches a missing image too, without a report.
	Pull(ctx context.Context, q PullRequest, report func(PullProgress)) error
}

// PullRequest asks for an image.
type PullRequest struct {
	Image  string
	Policy PullPolicy
	// RequireJail refuses a host that can't fully confine what reads the image. A container
	// engine reads its images itself, and ignores it.
	RequireJail bool
}

// PullPolicy says when an image is fetched.
type PullPolicy = vocab.PullPolicy

// The policies.
const (
	PullMissing = vocab.PullMissing
	PullAlways  = vocab.PullAlways
	PullNever   = vocab.PullNever
)

// ImageKeeper is a driver that keeps images itself. Engines of containers have commands of
// their own for theirs.
type ImageKeeper interface {
	// Images lists all images, and Image returns one, by a name, its ID or a beginning of
	// that. The error for one that is not there is ErrNoSuchImage.
	Images(ctx context.Context) ([]Image, error)
	Image(ctx context.Context, ref string) (Image, error)
	// RemoveImage takes a name away, and the image if that was its last one. By its ID it
	// removes the image with all its names. An image of which sandboxes were made stays:
	// the error is ErrImageInUse.
	RemoveImage(ctx context.Context, ref string) (Freed, error)
	// PruneImages removes what is only kept to make a later Pull shorter, and images that
	// have no name and no sandbox; with all, also those with a name.
	PruneImages(ctx context.Context, all bool) (Freed, error)
}

// Image is an image that an ImageKeeper keeps.
type Image = vocab.Image

// Freed says what was removed.
type Freed = vocab.Freed

// PullProgress is one layer's state while an image is fetched.
type PullProgress = vocab.PullProgress

// Streams are a client's standard streams. If Stdin ends with another error than io.EOF, the
// client has gone, and the workload's input is not closed.
type Streams = stream.Streams

// Size is a terminal window in character cells.
type Size = vocab.Size

// Info is what Probe found.
type Info struct {
	// Usable means that Start can be expected to work.
	Usable bool `json:"usable"`
	// Problem is one line that says why not, Hint what to do about it.
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
	// Version names the engine and its version, for doctor and inspect.
	Version string `json:"version,omitempty"`
	// DataRoot is the host directory in which the engine keeps images and what
	// containers write. It is "" if the engine has none or does not tell.
	DataRoot string `json:"dataRoot,omitempty"`
	// Details are further facts in a stable order, for doctor.
	Details []Fact `json:"details,omitempty"`
}

// Fact is one line of doctor's or inspect's output.
type Fact = vocab.Fact

// State is what an engine sees of a sandbox.
type State = vocab.State

// The states that an engine can report.
const (
	Created = vocab.Created
	Running = vocab.Running
	Exited  = vocab.Exited
	Dead    = vocab.Dead
)

// Keeper is a driver whose engine gives each object an id that nobody can choose. The
// gateway keeps that id in the sandbox's record. Names and labels prove nothing, because
// anybody can set them, even an image. They only serve to find sandboxes whose record was
// lost.
type Keeper interface {
	// Keep tells the driver which object is the sandbox's; "" if that is not known. While
	// the object is not known, the driver finds the sandbox by name, labels and mounts.
	// Once it is known, the driver goes by the object's id only. The driver also
	// remembers the object by itself when it creates a sandbox or first sees it.
	Keep(id, object string)
}

// Placed is a driver that may find one of several engines of its kind: root's, or one of
// the user's own. An engine does not know the sandboxes of the others, so its answer that
// there is no such sandbox means nothing for them. If another engine is asked than the
// sandbox's, every method fails, and not with ErrNotFound.
type Placed interface {
	// Place returns the address of the engine that is asked; "" until one was found.
	// note is one line if the engine's own tool would ask another engine.
	Place() (address, note string)
	// KeepPlace tells the driver in which engine a sandbox is; "" if that is not known,
	// or if the sandbox does not exist any more. If nothing names an engine, the driver
	// takes the one with the most sandboxes.
	KeepPlace(id, address string)
}

// Stocker is a driver with a root of its own, for a Spec that names none.
type Stocker interface {
	// Stock returns the files of that root, by names without a leading slash. The values
	// are the contents of text files, and "" for all others. An error means that the
	// files are not known.
	Stock(ctx context.Context) (map[string]string, error)
}

// Surveyor is a driver whose engine also runs containers that are not ours.
type Surveyor interface {
	// Mounting lists the mounts of something below dir, also those of stopped
	// containers. Mounts of dir itself are not among them.
	Mounting(ctx context.Context, dir string) ([]Mounting, error)
}

// Mounting is one mount of a container. Object names the container for users; Source is a
// path on the host, Target one inside the container.
type Mounting struct {
	Object, Source, Target string
	ID                     string // the engine's own: see Status.Object; "" if it is not known
	Running                bool   // the container has processes; they may be paused
	PID                    int    // of one of them, on the engine's host; 0 if it is not known
}

// Status is one sandbox as its engine sees it.
type Status struct {
	ID        string    `json:"id"`
	Object    string    `json:"object,omitempty"` // the engine's own id, if the driver is a Keeper
	Name      string    `json:"name,omitempty"`
	State     State     `json:"state"`
	ExitCode  int       `json:"exitCode"`         // valid when State is Exited; 128+n for signal n
	Reason    string    `json:"reason,omitempty"` // one line, when something went wrong
	StartedAt time.Time `json:"startedAt,omitzero"`
	ExitedAt  time.Time `json:"exitedAt,omitzero"`
	// SeenGeneration is the newest generation that the sandbox reported; 0 if there is no
	// report.
	SeenGeneration uint64 `json:"seenGeneration,omitempty"`
	Details        []Fact `json:"details,omitempty"`
	// Spec is the Spec of Create, as the engine keeps it; nil if it can't be read. A
	// gateway that lost the record adopts the sandbox with it.
	Spec *Spec `json:"-"`
}
