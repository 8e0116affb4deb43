package vm

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/qemu"
	"openshell-vm/internal/notice"
)

// Config is where the driver finds and keeps things. Directories are absolute
// and made by the driver if they are missing, 0700.
type Config struct {
	GatewayID    string
	SandboxesDir string // each sandbox's Spec.Dir is SandboxesDir/<id>
	RuntimeDir   string // for sockets
	CacheDir     string // for what can be made again; shared by this user's gateways
	Libexec      string // where openshell-vmm, openshell-init and openshell-krun are

	// All of these are found if they are empty.
	Kernel    string // guest kernel image for qemu
	QEMU      string // qemu-system program
	Virtiofsd string // either kind
	BusyBox   string // static busybox for the default root
	Libkrun   string // libkrun.so.1 for krun
	Libkrunfw string // libkrunfw.so.5 for krun

	// KVM is the device node that a VM has as /dev/kvm; "" for that of this name. A
	// test that gives another needs none; the probe of KVM asks the host's.
	KVM string

	Accel        qemu.Accel    // for qemu; "" for the best that works
	BootDeadline time.Duration // 0: 60 s under TCG, else 20 s
	RequireJail  bool          // refuse a host that can't confine a VM fully
	Log          *slog.Logger  // nil: nothing is logged
}

// Driver is the vm driver. It holds no resource and needs no Close.
type Driver struct {
	cfg     Config
	arch    string
	host    host
	tools   toolCache
	started notice.Board[error] // outcomes of starts, for those who are attached, by id

	confinement confinement
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
	return &Driver{cfg: cfg, arch: runtime.GOARCH, host: host{root: "/", cpus: runtime.NumCPU(), uid: os.Getuid()}}
}

// Name is the word users type.
func (d *Driver) Name() string { return "vm" }

// dir is the state directory of a sandbox.
func (d *Driver) dir(id string) string { return filepath.Join(d.cfg.SandboxesDir, id) }

// runDir is where a running sandbox has its socket.
func (d *Driver) runDir(id string) string { return filepath.Join(d.cfg.RuntimeDir, runtimeVMs, id) }

func (d *Driver) libexec(name string) string { return filepath.Join(d.cfg.Libexec, name) }
