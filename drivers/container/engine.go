// Package container is what the docker and the podman driver have in common. That
// is all but the requests: what a sandbox's container is made of, how a client is
// attached, what is verified after a start, which errors a user can do something
// about. Each engine fills in Engine, one method per request. Driver makes of it
// a drivers.Driver with every optional interface.
//
// What holds for both: the share and the user's directories are bind mounts,
// read-only with their submounts. Those of Spec.Writable can be written to, and their
// submounts too. A hidden directory below a read-only one
// is covered by an empty read-only tmpfs. The engine restarts nothing. After
// a start the driver has seen that the container's share is this very
// directory, and read-only. Else it has killed the container.
//
// Not promised: without a terminal, a workload's standard input ends when its
// client detaches. The engines cannot tell that from the end of the client's
// input. A command that could not be run has exited with 126 or 127 for this
// Driver only. Another one may see the sandbox as created.
package container

import (
	"context"
	"io"
	"time"

	"openshell-vm/drivers"
)

// Engine is one container engine's API. Containers are named by their name or
// by the engine's own id. Methods give the engine's own errors, and wrap
// drivers.ErrNotFound, ErrExists and ErrNotRunning where they apply. Explain
// makes a line for users of all others.
type Engine interface {
	// Name is the driver's name.
	Name() string
	// Probe is drivers.Driver's.
	Probe(ctx context.Context) drivers.Info
	// Host tells what the engine runs on.
	Host(ctx context.Context) (Host, error)
	// Explain turns err into a drivers.Error. It has a hint if the engine cannot
	// be reached. Else it is the engine's error with op before it.
	Explain(op string, err error) error

	Objects
	Images
	Sessions
	Archives
	Meters
}

// Blind is an Engine that may be kept from seeing all of this host's directories.
type Blind interface {
	// BlindTo gives the hint for a directory that the engine does not see; "" for others.
	BlindTo(path string) (hint string)
}

// Objects are the requests about containers.
type Objects interface {
	Create(ctx context.Context, o Object) (id string, err error)
	Start(ctx context.Context, name string) error
	Kill(ctx context.Context, name string, sig int) error
	Remove(ctx context.Context, name string) error
	Inspect(ctx context.Context, name string) (Found, error)
	// List gives the engine's own ids of the containers with a label, of stopped ones too.
	List(ctx context.Context, label, value string) ([]string, error)
	// Mounts lists the bind mounts of all containers, whoever made them.
	Mounts(ctx context.Context) ([]drivers.Mounting, error)
	// Wait returns the exit code once the container no longer runs. With next it
	// waits for the next end, also before the start.
	Wait(ctx context.Context, name string, next bool) (exitCode int, err error)
	// Stat describes a directory as the container sees it.
	Stat(ctx context.Context, name, path string) (Stat, error)
}

// Images are the requests about images.
type Images interface {
	HasImage(ctx context.Context, image string) (bool, error)
	Pull(ctx context.Context, image string, report func(drivers.PullProgress)) error
}

// Sessions are the requests about streams. With a terminal a Conn gives the
// output as it is. Without one it gives Docker's multiplexed form.
type Sessions interface {
	Logs(ctx context.Context, name string, follow bool, since time.Time) (io.ReadCloser, error)
	// Attach connects to the standard streams, also before the start. Without
	// output only the input is connected.
	Attach(ctx context.Context, name string, stdin, output bool) (Conn, error)
	Resize(ctx context.Context, name string, size drivers.Size) error

	// ExecCreate prepares a command and ExecAttach starts it.
	ExecCreate(ctx context.Context, name string, p drivers.Process, stdin bool) (exec string, err error)
	ExecAttach(ctx context.Context, exec string, p drivers.Process) (Conn, error)
	// ExecDetached starts a command in place of ExecAttach, without streams.
	ExecDetached(ctx context.Context, exec string) error
	ExecResize(ctx context.Context, exec string, size drivers.Size) error
	ExecInspect(ctx context.Context, exec string) (ExecState, error)
}

// Meters are the requests about what a container uses.
type Meters interface {
	Usage(ctx context.Context, name string) (drivers.Usage, error)
}

// Archives are the requests about files, of stopped containers too. Paths are absolute in
// the container. The error wraps drivers.ErrNoPath if the container has no such path.
type Archives interface {
	StatPath(ctx context.Context, name, path string) (drivers.PathStat, error)
	// GetArchive is a tar archive of what is at path. An engine that fails ends it early.
	GetArchive(ctx context.Context, name, path string) (io.ReadCloser, error)
	// PutArchive unpacks a tar archive below dir. If r fails, so does the request.
	PutArchive(ctx context.Context, name, dir string, r io.Reader) error
}

// Conn is a hijacked connection. CloseWrite ends the input.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Host is what an engine says of the machine it runs on.
type Host struct {
	CPUs   int
	Memory int64 // bytes
	// RecursiveReadOnly says that the engine can make a bind mount read-only with
	// all submounts, or fails where the kernel cannot. Without it submounts are
	// left out.
	RecursiveReadOnly bool
	// Socket is where the engine listens; "" where that is no unix socket. No
	// sandbox may see it.
	Socket string
}

// Object is a container to be made.
type Object struct {
	Image      string
	Entrypoint string // in place of the image's own; "" keeps that

	Name    string
	Process drivers.Process
	Stdin   bool
	Shares  []Bind   // labelled for sharing under SELinux; the sandbox's own is the first
	Binds   []Bind   // the user's
	Masks   []string // paths to cover with an empty read-only directory
	Labels  map[string]string
	CPUs    float64
	Memory  int64

	NoNetwork bool // nothing but loopback, in place of the engine's default network
	Ports     []drivers.Port
}

// Program is what runs in place of the image's own entry point; nil for that.
func (o Object) Program() []string {
	if o.Entrypoint == "" {
		return nil
	}
	return []string{o.Entrypoint}
}

// Bind is a bind mount, read-only unless Writable.
type Bind struct {
	Source, Target string
	Recursive      bool // true: submounts show, with the same rights; false: none shows
	Writable       bool
	// Programs in it are to be run, also if the host mounts the source's file system noexec.
	Programs bool
}

// Found is a container as its engine describes it.
type Found struct {
	ID         string // the engine's own
	Name       string
	Image      string
	Labels     map[string]string
	Env        []string // K=V, the image's too
	State      drivers.State
	ExitCode   int
	Reason     string
	StartedAt  time.Time
	ExitedAt   time.Time
	StopSignal int               // of the image; 0 if it names none
	PID        int               // on the engine's host; 0 unless running
	Writable   map[string]bool   // per mount target
	Sources    map[string]string // of the bind mounts, per target
}

// Stat identifies a directory well enough to tell two apart.
type Stat struct {
	IsDir    bool
	Modified time.Time
}

// ExecState is a command's state. PID is the one on the engine's host.
type ExecState struct {
	Running  bool
	ExitCode int
	PID      int
}
