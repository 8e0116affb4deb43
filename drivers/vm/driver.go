package vm

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/hypervisor/all"
	"openshell-vm/internal/notice"
)

// What the driver keeps in a sandbox's directory (Spec.Dir), beside the files
// that package monitor names.
const (
	specFile  = "vm.json"    // the drivers.Spec; its presence says that Create has succeeded
	upperFile = "upper.ext4" // the writable layer of the root
	bootDir   = "boot"       // shared with the guest: the boot spec
	rootDir   = "root"       // the root of who gave none: package host makes it
)

// runtimeVMs is the directory below Config.RuntimeDir that has one directory a
// running VM, for its socket.
const runtimeVMs = "vms"

// Config is where the driver finds and keeps things. Directories are absolute
// and made by the driver if they are missing, 0700.
type Config struct {
	GatewayID    string
	SandboxesDir string // each sandbox's Spec.Dir is SandboxesDir/<id>
	RuntimeDir   string // for sockets
	CacheDir     string // for what can be made again; shared by this user's gateways
	Libexec      string // where openshell-vmm, openshell-init and openshell-krun are

	// Hypervisors are in the order in which auto tries them; nil for all that there
	// are, with whatever is found.
	Hypervisors []hypervisor.Hypervisor
	BusyBox     string // static busybox for the default root; "" for one that is installed

	// KVM is the device node that a VM has as /dev/kvm; "" for that of this name. A
	// test that gives another needs none; the probe of KVM asks the host's.
	KVM string

	BootDeadline time.Duration // 0: what the hypervisor says
	RequireJail  bool          // refuse a host that can't confine a VM fully
	Log          *slog.Logger  // nil: nothing is logged
}

// Driver is the vm driver. It holds no resource and needs no Close.
type Driver struct {
	cfg     Config
	host    *host.Host
	started notice.Board[error] // outcomes of starts, for those who are attached, by id
}

// The driver has every optional interface.
var (
	_ drivers.Driver   = (*Driver)(nil)
	_ drivers.Logger   = (*Driver)(nil)
	_ drivers.Attacher = (*Driver)(nil)
	_ drivers.Execer   = (*Driver)(nil)
	_ drivers.Signaler = (*Driver)(nil)
	_ drivers.Waiter   = (*Driver)(nil)

	_ drivers.LongStarter = (*Driver)(nil)
	_ drivers.Stocker     = (*Driver)(nil)
)

// New makes a driver. Nothing is looked at before it is used.
func New(cfg Config) *Driver {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if cfg.Hypervisors == nil {
		cfg.Hypervisors, _ = all.New(nil) // nothing was chosen that could be wrong
	}
	return &Driver{cfg: cfg, host: host.New(host.Config{
		Libexec: cfg.Libexec, CacheDir: cfg.CacheDir, BusyBox: cfg.BusyBox, RequireJail: cfg.RequireJail,
	})}
}

// Name is the word users type.
func (d *Driver) Name() string { return "vm" }

// dir is the state directory of a sandbox.
func (d *Driver) dir(id string) string { return filepath.Join(d.cfg.SandboxesDir, id) }

// runDir is where a running sandbox has its socket.
func (d *Driver) runDir(id string) string { return filepath.Join(d.cfg.RuntimeDir, runtimeVMs, id) }

// Stock is drivers.Stocker's.
func (d *Driver) Stock(ctx context.Context) (map[string]string, error) { return d.host.Stock(ctx) }

// hypervisor is the one of that name; nil if there is none.
func (d *Driver) hypervisor(name string) hypervisor.Hypervisor {
	for _, h := range d.cfg.Hypervisors {
		if h.Name() == name {
			return h
		}
	}
	return nil
}
