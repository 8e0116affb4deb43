// Package container is what the docker and the podman driver have in common,
// and that is all but the requests: what a sandbox's container is made of, how
// one is attached to, what is verified after a start, which errors a user can
// do something about. Each engine fills in Engine, one method per request, and
// Driver makes of it a drivers.Driver with every optional interface.
//
// What holds for both: the share and the user's directories are bind mounts,
// read-only, and no submount is ever writable. A hidden directory below one
// is covered by an empty read-only tmpfs. The engine restarts nothing. After
// a start the driver has seen that the container's share is this very
// directory and read-only, or it has killed the container.
//
// Not promised: a detached client's standard input ends for a workload
// without a terminal (the engines cannot tell a detached client from one at
// its end of file). What could not be started is remembered as exited with
// 126 or 127 by this Driver only; another one may see it as created.
package container

import (
	"context"
	"io"
	"time"

	"openshell-vm/drivers"
)

// Engine is one container engine's API. Containers are named by their name or
// by the engine's own id. Methods
// give the engine's own errors but for drivers.ErrNotFound, ErrExists and
// ErrNotRunning, which they wrap where they apply; Explain makes a line for
// users of the rest.
type Engine interface {
	// Name is the driver's name.
	Name() string
	// Probe is drivers.Driver's.
	Probe(ctx context.Context) drivers.Info
	// Host tells what the engine runs on.
	Host(ctx context.Context) (Host, error)
	// Explain turns err into a drivers.Error with a hint where the engine
	// cannot be reached, and else gives it back with op before it.
	Explain(op string, err error) error

	Objects
	Images
	Sessions
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
	// Wait returns the exit code once the container no longer runs; with next,
	// which may come before the start, once it has run and ended.
	Wait(ctx context.Context, name string, next bool) (exitCode int, err error)
	// Stat describes a directory as the container sees it.
	Stat(ctx context.Context, name, path string) (Stat, error)
}

// Images are the requests about images.
type Images interface {
	HasImage(ctx context.Context, image string) (bool, error)
	Pull(ctx context.Context, image string, report func(drivers.PullProgress)) error
}

// Sessions are the requests about streams. What is read from a Conn is the
// stream itself with a terminal and Docker's multiplexed form without.
type Sessions interface {
	Logs(ctx context.Context, name string, follow bool, since time.Time) (io.ReadCloser, error)
	// Attach connects to the standard streams; the workload may still have to
	// be started. Without output only the input is connected.
	Attach(ctx context.Context, name string, stdin, output bool) (Conn, error)
	Resize(ctx context.Context, name string, size drivers.Size) error

	// ExecCreate prepares a command and ExecAttach starts it.
	ExecCreate(ctx context.Context, name string, p drivers.Process, stdin bool) (exec string, err error)
	ExecAttach(ctx context.Context, exec string, p drivers.Process) (Conn, error)
	ExecResize(ctx context.Context, exec string, size drivers.Size) error
	ExecInspect(ctx context.Context, exec string) (ExecState, error)
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
	// RecursiveReadOnly says that a bind mount can be made read-only with all
	// submounts, and fails where the kernel cannot. Without it submounts are
	// left out.
	RecursiveReadOnly bool
	// Socket is where the engine listens; "" where that is no unix socket. No
	// sandbox is to see it.
	Socket string
}

// Object is a container to be made.
type Object struct {
	drivers.Container

	Name    string
	Process drivers.Process
	Stdin   bool
	Share   Bind     // the auth directory, labelled for sharing under SELinux
	Binds   []Bind   // the user's
	Masks   []string // paths to cover with an empty read-only directory
	Labels  map[string]string
	CPUs    float64
	Memory  int64
}

// Program is what runs in place of the image's own entry point; nil for that.
func (o Object) Program() []string {
	if o.Entrypoint == "" {
		return nil
	}
	return []string{o.Entrypoint}
}

// Bind is a read-only bind mount.
type Bind struct {
	Source, Target string
	Recursive      bool // submounts too, all read-only; else none of them shows
}

// Found is a container as its engine describes it.
type Found struct {
	ID        string // the engine's own
	Name      string
	Image     string
	Labels    map[string]string
	Env       []string // K=V, the image's too
	State     drivers.State
	ExitCode  int
	Reason    string
	StartedAt time.Time
	ExitedAt  time.Time
	PID       int               // on the engine's host; 0 unless running
	Writable  map[string]bool   // per mount target
	Sources   map[string]string // of the bind mounts, per target
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
