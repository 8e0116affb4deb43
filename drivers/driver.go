// Package drivers says what every sandbox engine must do, in types that leave
// a driver no room to do it worse.
//
// A driver exposes host directories to a sandbox and runs it. It has no token
// logic: it never reads, writes, mints or waits for a token. The gateway has
// published before it calls Start, and publishes again while the sandbox runs.
// What a driver owes the gateway is one number: its staleness bound (Resolve).
//
// What is not promised: a driver does not restart anything by itself, does not
// order calls for one sandbox (the gateway does), and keeps no record beside
// what its engine keeps.
package drivers

import (
	"context"
	"io"
	"time"

	"openshell-vm/internal/stream"
	"openshell-vm/internal/vocab"
)

// Driver runs sandboxes on one engine. Every method is idempotent: stopping
// what is stopped or removing what is gone succeeds. Methods may be called
// concurrently for different sandboxes; the gateway never calls two at once
// for the same one, but for Inspect, List and the optional interfaces.
type Driver interface {
	// Name is the word users type: "vm", "docker" or "podman".
	Name() string

	// Probe finds out whether the engine can be used now. An engine that
	// cannot is not an error of Probe: Info.Problem says why.
	Probe(ctx context.Context) Info

	// Resolve refuses a spec that cannot work here (rootfs missing, more memory
	// than there is, no usable hypervisor) before anything is made, fills in
	// what was left to the driver, and tells the one number that a driver tells
	// about itself: staleness bounds how long this sandbox may still see the
	// generation before the current one (1 s for docker, podman and vm/qemu, 6 s
	// for vm/krun: measured bounds with a margin). Token lifetimes are checked
	// against it. Create, Start and Resolve take the Spec that it returned.
	Resolve(ctx context.Context, spec Spec) (resolved Spec, staleness time.Duration, err error)

	// Create makes the sandbox known to the engine; nothing runs yet. It fails
	// with ErrExists if the engine has one with this ID.
	Create(ctx context.Context, spec Spec) error

	// Start runs a created or stopped sandbox. It returns once the workload
	// has been started, or with the reason why it was not.
	Start(ctx context.Context, id string) error

	// Stop asks the workload to end (SIGTERM) and kills it after grace. With no
	// grace it is killed at once.
	Stop(ctx context.Context, id string, grace time.Duration) error

	// Remove ends the sandbox at once and forgets it, with all that Create
	// and Start made. The share is the gateway's and is left alone.
	Remove(ctx context.Context, id string) error

	// Inspect reports what the engine sees; ErrNotFound if it has no such ID.
	Inspect(ctx context.Context, id string) (Status, error)

	// List reports every sandbox of this gateway that the engine has, found by
	// label (or by its directory), also those the gateway lost its record of. One
	// that the engine can't describe is left out: Inspect says why.
	List(ctx context.Context) ([]Status, error)
}

// Logger is a driver that can give back the workload's output.
type Logger interface {
	// Logs writes stored output since the last start to the two writers and,
	// with follow, goes on until the sandbox stops or ctx ends. A sandbox with
	// a terminal has all its output on stdout.
	Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error
}

// Attacher is a driver that can connect to a sandbox's standard streams.
type Attacher interface {
	// Attach connects streams until the workload ends and returns its exit
	// code. It may be called before Start, and then no output is lost: it waits
	// for the start. With replay, output since the start is given first.
	// Cancelling ctx detaches and leaves the sandbox running.
	Attach(ctx context.Context, id string, replay bool, s Streams) (exitCode int, err error)
}

// Execer is a driver that can run a further command in a running sandbox.
type Execer interface {
	// Exec runs p and returns its exit code: 126 and 127 as container tools
	// give them. Cancelling ctx kills the command.
	Exec(ctx context.Context, id string, p Process, s Streams) (exitCode int, err error)
}

// Signaler is a driver that can send the workload a signal.
type Signaler interface {
	// Signal sends signal number sig to the workload's main process.
	Signal(ctx context.Context, id string, sig int) error
}

// Waiter is a driver that learns of a sandbox's end without being polled. The
// gateway polls Inspect where a driver is none.
type Waiter interface {
	// Wait returns the Status once the sandbox no longer runs.
	Wait(ctx context.Context, id string) (Status, error)
}

// LongStarter is a driver whose Start may take longer than an engine is given: it
// has deadlines of its own, which count what gets on.
type LongStarter interface {
	// LongestStart bounds one Start.
	LongestStart() time.Duration
}

// Puller is a driver whose sandboxes come from images that can be fetched.
type Puller interface {
	// Pull makes sure that the engine has image and fetches it if it has not.
	// report may be nil; it is called one call at a time while layers arrive.
	// Create fetches a missing image too, without a report.
	Pull(ctx context.Context, image string, report func(PullProgress)) error
}

// PullProgress is one layer's state while an image is fetched.
type PullProgress = vocab.PullProgress

// Streams are one client's ends. A Stdin that ends with another error than io.EOF
// is a client that is gone: the workload is told of no end of input.
type Streams = stream.Streams

// Size is a terminal window in character cells.
type Size = vocab.Size

// Info is what Probe found.
type Info struct {
	// Usable says that Start can be expected to work.
	Usable bool `json:"usable"`
	// Problem is one line that says why not, Hint what to do about it.
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
	// Version names the engine and its version, for doctor and inspect.
	Version string `json:"version,omitempty"`
	// DataRoot is the host directory in which the engine keeps images and what
	// containers write; "" where it has none or doesn't tell.
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

// Keeper is a driver whose engine gives each object an id of its own, which
// nobody can choose. Names and labels are anybody's to set, an image's too: they
// only find what was lost. Whoever keeps a record keeps the object's id in it.
type Keeper interface {
	// Keep says which object is the sandbox's; "" that it is not known. Until
	// then the driver goes by name, labels and mounts, and after it by nothing
	// else. Create and the first sight of a sandbox keep its object, too.
	Keep(id, object string)
}

// Placed is a driver that may find one of several engines of its kind: root's, or
// one of the user's own. What is in one of them the others don't know, and that
// says nothing of it: for such a sandbox every method fails with another error than
// ErrNotFound.
type Placed interface {
	// Place is the address of the engine that is asked; "" until one was found.
	// note is one line if it is not the one that the engine's own tool would take.
	Place() (address, note string)
	// KeepPlace says in which engine a sandbox is; "" that it is not known, or
	// that there is no such sandbox any more. Where nothing names an engine, the one
	// that most sandboxes are in is taken.
	KeepPlace(id, address string)
}

// Stocker is a driver with a root of its own, for a Spec that names none.
type Stocker interface {
	// Stock is what that root holds, by names without a leading slash: text files with
	// their content, all else with none. An error means that it is not known.
	Stock(ctx context.Context) (map[string]string, error)
}

// Surveyor is a driver whose engine runs other containers than ours, too.
type Surveyor interface {
	// Mounting lists the containers, stopped ones too, that mount something
	// inside of dir. What mounts dir itself is not among them.
	Mounting(ctx context.Context, dir string) ([]Mounting, error)
}

// Mounting is one mount of a container of the user's own.
type Mounting struct {
	Object, Source, Target string
	Running                bool // the container's processes have it, frozen ones too
}

// Status is one sandbox as its engine sees it.
type Status struct {
	ID        string    `json:"id"`
	Object    string    `json:"object,omitempty"` // the engine's own id of it, where the driver is a Keeper
	Name      string    `json:"name,omitempty"`
	State     State     `json:"state"`
	ExitCode  int       `json:"exitCode"`         // valid when State is Exited; 128+n for signal n
	Reason    string    `json:"reason,omitempty"` // one line, when something went wrong
	StartedAt time.Time `json:"startedAt,omitzero"`
	ExitedAt  time.Time `json:"exitedAt,omitzero"`
	// SeenGeneration is the newest generation the sandbox said it sees;
	// 0 where the driver has no such report.
	SeenGeneration uint64 `json:"seenGeneration,omitempty"`
	Details        []Fact `json:"details,omitempty"`
	// Spec is what Create was given, as the engine keeps it; nil where it keeps
	// none that can be read. A gateway that lost its record goes by it.
	Spec *Spec `json:"-"`
}
