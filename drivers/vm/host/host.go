// Package host is what a VM takes of the host that it runs on: programs and
// what they load, KVM, room and memory, its default root, its disk, and the
// jail around it. It knows no hypervisor; these ask it.
//
// What is not promised: what a check found may have changed when the VM starts.
// So a start looks again, and the jail takes no other directory than the one that
// was looked at.
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

// Environment variables of what a Config has.
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
	cacheUpper = "upper-1.ext4" // what every new disk is a copy of; the number is the format's
	cacheKVM   = "kvm.json"     // whether KVM works
)

// Config is where things are found and kept. Directories are absolute.
type Config struct {
	Libexec     string // where our own programs are
	CacheDir    string // for what can be made again; made if it is missing, 0700
	BusyBox     string // static busybox for the default root; "" for one that is installed
	RequireJail bool   // refuse a host that can't confine a VM fully
}

// Host remembers what it found out. It is safe for concurrent use.
type Host struct {
	Config

	root string // where proc and sys lie; tests make one up
	cpus int
	uid  int

	busyBoxes   Cache[busyBox]
	confinement confinement
}

// New looks at nothing yet.
func New(c Config) *Host {
	return &Host{Config: c, root: "/", cpus: runtime.NumCPU(), uid: os.Getuid()}
}

// Program is the path of one of our own programs, whether it is there or not.
func (h *Host) Program(name string) string { return filepath.Join(h.Libexec, name) }

// Init is the path of the guest init, which is there.
func (h *Host) Init() (string, error) {
	path := h.Program(InitProgram)
	if _, err := os.Stat(path); err != nil {
		return "", &drivers.Error{Op: "prepare the guest", Err: err, Hint: "see that openshell-init is installed beside openshell-vmm"}
	}
	return path, nil
}

func (h *Host) cached(name string) string { return filepath.Join(h.CacheDir, name) }

// KVM says whether KVM runs guests here for a hypervisor. The answer is
// remembered until the next boot of the host, where there is a cache.
func (h *Host) KVM(ctx context.Context, hypervisor string) kvm.Result {
	cache := h.cached(cacheKVM)
	if err := os.MkdirAll(h.CacheDir, 0o700); err != nil {
		cache = ""
	}
	return kvm.Prober{Self: h.Program(MonitorProgram), Cache: cache, Hypervisor: hypervisor}.Probe(ctx)
}

// ErrNoKVM is in the chain of NeedKVM's error.
var ErrNoKVM = errors.New("KVM does not work here")

// NeedKVM is why KVM runs no guest here for a hypervisor; nil if it does.
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
