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
	"openshell-vm/drivers/vm/images"
	"openshell-vm/drivers/vm/images/library"
	"openshell-vm/internal/notice"
)

// Names in a sandbox's directory (Spec.Dir), beside those of package monitor.
const (
	specFile  = "vm.json"    // the drivers.Spec; it is there once Create has succeeded
	upperFile = "upper.ext4" // the writable layer of the root
	bootDir   = "boot"       // the boot spec, for the guest
	rootDir   = "root"       // the default root, made by package host
)

// cacheImages is the directory of the images, below the cache directory.
const cacheImages = "images"

// runtimeVMs is the directory below Config.RuntimeDir with a directory for each running
// VM's socket.
const runtimeVMs = "vms"

// Config says where the driver finds and keeps things. Directories are absolute; the driver
// makes missing ones with mode 0700.
type Config struct {
	GatewayID    string
	SandboxesDir string // each sandbox's Spec.Dir is SandboxesDir/<id>
	RuntimeDir   string // for sockets
	CacheDir     string // for what can be made again; shared by this user's gateways
	Libexec      string // where openshell-vmm, openshell-init and openshell-krun are

	// Hypervisors are in the order in which auto tries them; nil means all, without choices
	// of the user.
	Hypervisors []hypervisor.Hypervisor
	BusyBox     string // static busybox for the default root; "" for an installed one

	// KVM is the device node that a VM's jail has as /dev/kvm; "" for the host's. It is for
	// tests without KVM. The probe of KVM always asks the host's.
	KVM string

	BootDeadline time.Duration // 0 means the hypervisor's own
	RequireJail  bool          // refuse a host that can't confine a VM fully
	Log          *slog.Logger  // nil means no log
}

// Driver is the vm driver. It holds no resource and needs no Close.
type Driver struct {
	cfg    Config
	host   *host.Host
	images *library.Library

	hypervisors hypervisors
	started     notice.Board[error] // outcomes of starts by id, for clients that wait to attach

	// What a gateway asks of images is the library's.
	drivers.Puller
	drivers.ImageKeeper
}

// The driver's optional interfaces.
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

// New makes a driver. It does not look at the host yet.
func New(cfg Config) *Driver {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if cfg.Hypervisors == nil {
		cfg.Hypervisors, _ = all.New(nil) // no choices, so no wrong ones
	}
	h := host.New(host.Config{Libexec: cfg.Libexec, CacheDir: cfg.CacheDir, BusyBox: cfg.BusyBox, RequireJail: cfg.RequireJail})
	images := library.New(filepath.Join(cfg.CacheDir, cacheImages), h.Program(images.Program), cfg.RequireJail)
	return &Driver{cfg: cfg, host: h, hypervisors: hypervisors{cfg.Hypervisors, h}, images: images, Puller: images, ImageKeeper: images}
}

// Name is the word that users type.
func (d *Driver) Name() string { return "vm" }

// dir returns the state directory of a sandbox.
func (d *Driver) dir(id string) string { return filepath.Join(d.cfg.SandboxesDir, id) }

// Stock implements drivers.Stocker.
func (d *Driver) Stock(ctx context.Context) (map[string]string, error) { return d.host.Stock(ctx) }
