// Package hypervisor is the interface of a hypervisor: all that the driver and the
// monitor ask of one. Each hypervisor has a folder of its own below this one, and
// package all lists them. No other code depends on which one it is.
//
// The driver asks a Hypervisor what it finds on this host. The result, its Tools,
// travels to the monitor as JSON. There it says which processes the VM needs.
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

// Hypervisor is one kind of hypervisor. It is safe for concurrent use.
type Hypervisor interface {
	// Name is the word that users type, and the key of its tools in a monitor's
	// configuration. It never changes.
	Name() string

	// Staleness is how long a guest may still see the previous generation, with a
	// margin over what was measured.
	Staleness() time.Duration

	// Writes says whether its VMs can have directories of the host to write to.
	Writes() bool

	// Traits are what the guest init has to know.
	Traits() guest.Traits

	// MTU is the largest packet that the card of a VM takes, in bytes. Large ones are
	// what makes the network of an emulated machine fast.
	MTU() int

	// Works returns nil if VMs of this hypervisor can run on this host, else why not.
	Works(ctx context.Context, h *host.Host) error

	// Find finds the programs and files for a VM. It is called anew for each start,
	// since the host may have changed. It does not try whether a VM works.
	Find(ctx context.Context, h *host.Host) (Tools, error)

	// Read reads Tools from JSON, which an older version may have written.
	Read(data []byte) (Tools, error)

	// Account tells people about this hypervisor, if it works.
	Account(ctx context.Context, h *host.Host) Account
}

// Account is what doctor tells of a hypervisor.
type Account struct {
	Why     string // why it is chosen: "KVM works here"
	Version string // "" if not known
	Facts   []drivers.Fact
}

// Tools are the programs and files for a VM on this host. They can be written as JSON,
// and hold no secret.
type Tools interface {
	// Boot says how long a boot may take, and whether one that hangs is tried again.
	Boot() Boot

	// Overhead is how many bytes of the host's memory the processes take, beside the
	// guest's memory and beside what the processes of any hypervisor take.
	Overhead() int64

	// Facts are for inspect.
	Facts() []drivers.Fact

	// Processes returns the processes that together are the VM, in the order in which
	// to start them. The caller closes their files once they are started. If there is
	// no error, the hypervisor closes the ports that it gives to no process.
	Processes(m Machine, p Ports) ([]Process, error)
}

// Lister is a Tools whose file server lets no overlay copy up. The guest init then builds
// a skeleton of the root from a list of its files (package rootlist).
type Lister interface {
	// RoomFor refuses a root with more files than the guest's memory has room for.
	RoomFor(m Machine, files uint64) error
}

// Boot says what to expect of a boot.
type Boot struct {
	Deadline time.Duration // from the start, or from the last report of progress
	Again    bool          // try a boot that hung or crashed once more
}

// The two kinds of boot. An emulated processor is slow, and on a busy host its guests
// hang now and then.
var (
	Native   = Boot{Deadline: 20 * time.Second}
	Emulated = Boot{Deadline: time.Minute, Again: true}
)

// Ports are the hypervisor's ends of the guest's ports: connected sockets. Network is that
// of the guest's card (package link says what is spoken there); nil if it has none.
type Ports struct{ Stdio, Console, Control, Network *os.File }

// Close closes all ports.
func (p Ports) Close() { CloseAll(p.Stdio, p.Console, p.Control, p.Network) }

// CloseAll closes files. Some may be closed already.
func CloseAll(files ...*os.File) {
	for _, f := range files {
		f.Close() // of a nil one it is an error, and no harm
	}
}

// Process is one process of a VM, to be run in a jail of its own.
type Process struct {
	// Name is for people, and unique in the VM.
	Name string
	// Jail is complete but for Name, Env, Cgroup and Require. The monitor sets these.
	Jail jail.Config
	// Server is true for a file server of the hypervisor's process. It ends after that.
	Server bool
	// Files are what the process inherits, from descriptor 3 on.
	Files []*os.File
}
