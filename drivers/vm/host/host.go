// Package host finds and checks what a VM needs of the host: programs and the files that
// they load, KVM, room and memory, the default root, the disk, and the jail. It knows no
// hypervisor; hypervisors ask it.
//
// What is not promised: what a check found may have changed when the VM starts. So a
// start checks again, and the jail refuses another directory than the one that was
// checked.
package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/kvm"
)

// Environment variables for fields of a Config.
const (
	BusyBoxEnv     = "OPENSHELL_BUSYBOX"      // Config.BusyBox
	RequireJailEnv = "OPENSHELL_REQUIRE_JAIL" // Config.RequireJail: 1
)

// Programs in Config.Libexec that every VM needs.
const (
	MonitorProgram = "openshell-vmm"
	InitProgram    = "openshell-init"
)

// Below Config.CacheDir.
const (
	cacheUpper = "upper-1.ext4" // template of new disks; 1 is the format's number
	cacheKVM   = "kvm.json"     // whether KVM works
)

// Config says where to find and keep things. Directories are absolute.
type Config struct {
	Libexec     string // where our own programs are
	CacheDir    string // for what can be made again; made with mode 0700 if it is missing
	BusyBox     string // static busybox for the default root; "" for an installed one
	RequireJail bool   // refuse a host that can't confine a VM fully
}

// Host is the host of VMs. It remembers what it found out, and is safe for concurrent
// use.
type Host struct {
	Config

	root string // directory with proc and sys; tests make one up
	cpus int
	uid  int

	busyBoxes   Cache[busyBox]
	confinement confinement
}

// New makes a Host. It does not look at anything yet.
func New(c Config) *Host {
	return &Host{Config: c, root: "/", cpus: runtime.NumCPU(), uid: os.Getuid()}
}

// Program returns the path of one of our own programs, whether that exists or not.
func (h *Host) Program(name string) string { return filepath.Join(h.Libexec, name) }

// Init returns the path of the guest init. It fails if that is not installed.
func (h *Host) Init() (string, error) {
	path := h.Program(InitProgram)
	if _, err := os.Stat(path); err != nil {
		return "", &drivers.Error{Op: "prepare the guest", Err: err, Hint: "see that openshell-init is installed beside openshell-vmm"}
	}
	return path, nil
}

func (h *Host) cached(name string) string { return filepath.Join(h.CacheDir, name) }

// KVM finds out whether KVM runs guests here for a hypervisor. The cache remembers the
// answer, until the host's next boot at most.
func (h *Host) KVM(ctx context.Context, hypervisor string) kvm.Result {
	cache := h.cached(cacheKVM)
	if err := os.MkdirAll(h.CacheDir, 0o700); err != nil {
		cache = ""
	}
	return kvm.Prober{Self: h.Program(MonitorProgram), Cache: cache, Hypervisor: hypervisor}.Probe(ctx)
}

// ErrNoKVM is in the chain of NeedKVM's error.
var ErrNoKVM = errors.New("KVM does not work here")

// NeedKVM returns nil if KVM runs guests here for a hypervisor, else why not.
func (h *Host) NeedKVM(ctx context.Context, hypervisor string) error {
	r := h.KVM(ctx, hypervisor)
	if r.Usable {
		return nil
	}
	return &drivers.Error{Op: "use KVM", Err: noKVM(r.Reason), Hint: r.Hint}
}

type noKVM string

func (e noKVM) Error() string        { return string(e) }
func (e noKVM) Is(target error) bool { return target == ErrNoKVM }
