// Package hypervisor says what a hypervisor is: all that the driver and the
// monitor ask of one. Each lies in a folder of its own below this one, whole, and
// package all lists them. Nothing else knows them apart.
//
// The driver asks a Hypervisor what it finds on this host. What it found, its
// Tools, travels to the monitor as JSON, and there says which processes are the VM.
package hypervisor

import (
	"context"
	"os"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/jail"
)

// Hypervisor is one kind of hypervisor. It may be asked from several goroutines.
type Hypervisor interface {
	// Name is the word that users type, and the key of its tools in a monitor's
	// configuration. It never changes.
	Name() string

	// Staleness is how long a guest may still see the generation before the current
	// one, with a margin over what was measured.
	Staleness() time.Duration

	// Traits are what the guest init has to know.
	Traits() guest.Traits

	// Works says why there can be no VM of it on this host; nil if there can.
	Works(ctx context.Context, h *host.Host) error

	// Find finds what a VM is made of, anew for each start: the host may have
	// changed. It does not try whether a VM works.
	Find(ctx context.Context, h *host.Host) (Tools, error)

	// Read takes Tools that were written as JSON, maybe by an older version.
	Read(data []byte) (Tools, error)

	// Account tells people about one that works.
	Account(ctx context.Context, h *host.Host) Account
}

// Account is what doctor tells of a hypervisor.
type Account struct {
	Why     string // it is taken: "KVM works here"
	Version string // "" where it can't be told
	Facts   []drivers.Fact
}

// Tools are what a VM is made of on this host. They can be written as JSON, and
// hold no secret.
type Tools interface {
	// Boot is how long a boot takes, and what is done about one that hangs.
	Boot() Boot

	// Overhead is what the processes take of the host's memory beside the guest's
	// and what those of any hypervisor take, in bytes.
	Overhead() int64

	// Facts are for inspect.
	Facts() []drivers.Fact

	// Processes are those that together are the VM, in the order in which they are to
	// be started. Their files are the caller's to close, once they are started. The
	// ports that no process gets are closed by the hypervisor, if it gives no error.
	Processes(m Machine, p Ports) ([]Process, error)
}

// Lister is a Tools whose guest can't change a root that it serves: the init builds
// a stand-in of the root from a list of its files (package rootlist).
type Lister interface {
	// RoomFor refuses a root with more files than the guest has room for.
	RoomFor(m Machine, files uint64) error
}

// Boot says what is normal for a boot.
type Boot struct {
	Deadline time.Duration // from the start, or the last word of progress
	Again    bool          // one that hung or crashed is tried once more: that happens now and then
}

// The two kinds of boot. An emulated processor is slow, and its guests hang now and
// then where the host is busy.
var (
	Native   = Boot{Deadline: 20 * time.Second}
	Emulated = Boot{Deadline: time.Minute, Again: true}
)

// Ports are the hypervisor's ends of the guest's ports: connected sockets.
type Ports struct{ Stdio, Console, Control *os.File }

// Close closes all of them.
func (p Ports) Close() { CloseAll(p.Stdio, p.Console, p.Control) }

// CloseAll closes files; it does not matter whether they are closed already.
func CloseAll(files ...*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Process is one process of a VM, to be run in a jail of its own.
type Process struct {
	// Name is for people, and unique in the VM.
	Name string
	// Jail has no Name, Env, Cgroup and Require: these are the monitor's.
	Jail jail.Config
	// Server says that it serves another one, and ends after that.
	Server bool
	// Files are inherited, from descriptor 3 on.
	Files []*os.File
}
