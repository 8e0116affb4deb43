package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/initramfs"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/qemu"
)

// toolCache remembers what a program said of its version, as long as its file
// stays the same.
type toolCache struct {
	mu       sync.Mutex
	versions map[string]toolVersion
}

type toolVersion struct {
	size    int64
	changed time.Time
	flavor  qemu.Virtiofsd
	version string
}

// qemuTools finds all that a VM of the qemu hypervisor is made of.
func (d *Driver) qemuTools(ctx context.Context) (monitor.QEMU, error) {
	var q monitor.QEMU
	var err error
	if q.Binary, err = d.findQEMU(); err != nil {
		return q, err
	}
	if q.Virtiofsd, err = d.findVirtiofsd(); err != nil {
		return q, err
	}
	v, err := d.tools.virtiofsd(ctx, q.Virtiofsd)
	if err != nil {
		return q, &drivers.Error{Op: "use virtiofsd", Err: err, Hint: "install one that runs here (Debian: apt install virtiofsd or qemu-system-common)"}
	}
	q.Flavor = v.flavor
	kernel, err := d.kernel()
	if err != nil {
		return q, err
	}
	q.Kernel = kernel.Image
	q.Initramfs, err = initramfs.Cached(filepath.Join(d.cfg.CacheDir, cacheInitramfs), kernel, d.libexec("openshell-init"))
	if err != nil {
		return q, &drivers.Error{Op: "prepare the guest", Err: err}
	}
	q.Accel, _ = d.accelerator(ctx)
	return q, nil
}

func (d *Driver) kernel() (initramfs.Kernel, error) {
	return initramfs.FindKernel(initramfs.Search{Explicit: d.cfg.Kernel})
}

func (d *Driver) findQEMU() (string, error) {
	program, pkg := qemu.Binary(d.arch)
	places := []string{program}
	if d.cfg.QEMU != "" {
		places = []string{d.cfg.QEMU}
	}
	return findProgram("QEMU", places, pkg)
}

// findVirtiofsd prefers the Rust daemon, of which the C one is the forerunner.
func (d *Driver) findVirtiofsd() (string, error) {
	places := []string{
		"/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "virtiofsd",
		"/usr/lib/qemu/virtiofsd", "/usr/libexec/qemu/virtiofsd",
	}
	if d.cfg.Virtiofsd != "" {
		places = []string{d.cfg.Virtiofsd}
	}
	return findProgram("virtiofsd", places, "virtiofsd, or qemu-system-common before Debian 13")
}

// findProgram gives the first place that has an executable file; a place
// without a slash is looked up in PATH.
func findProgram(what string, places []string, pkg string) (string, error) {
	for _, place := range places {
		path, err := exec.LookPath(place)
		if err != nil {
			continue
		}
		return filepath.Abs(path)
	}
	return "", &drivers.Error{
		Op:   "find " + what,
		Err:  fmt.Errorf("it is not installed (looked for %s)", strings.Join(places, ", ")),
		Hint: "install it (Debian: apt install " + pkg + ")",
	}
}

// findMkfs looks where an ordinary user's PATH does not lead, too.
func findMkfs() (string, error) {
	return findProgram("mkfs.ext4", []string{"mkfs.ext4", "/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"}, "e2fsprogs, or use --ephemeral")
}

// virtiofsd says which kind the program at path is.
func (c *toolCache) virtiofsd(ctx context.Context, path string) (toolVersion, error) {
	info, err := os.Stat(path)
	if err != nil {
		return toolVersion{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.versions[path]
	if ok && v.size == info.Size() && v.changed.Equal(info.ModTime()) {
		return v, nil
	}
	v = toolVersion{size: info.Size(), changed: info.ModTime()}
	if v.flavor, v.version, err = qemu.DetectVirtiofsd(ctx, path); err != nil {
		return v, err
	}
	if c.versions == nil {
		c.versions = map[string]toolVersion{}
	}
	c.versions[path] = v
	return v, nil
}

// accelerator says what runs the guest's instructions under QEMU, and why.
func (d *Driver) accelerator(ctx context.Context) (qemu.Accel, string) {
	if d.cfg.Accel != "" {
		return d.cfg.Accel, "it was asked for by " + AccelEnv
	}
	if err := d.kvmWorks(ctx, "qemu"); err != nil {
		return qemu.TCG, "KVM does not work here: " + err.Error()
	}
	return qemu.KVM, "KVM works here"
}

// krunWorks says why the krun hypervisor can't be used; nil if it can.
func (d *Driver) krunWorks(ctx context.Context) error {
	if _, err := os.Stat(d.libexec("openshell-krun")); err != nil {
		return errors.New("openshell-krun is not installed beside openshell-vmm")
	}
	if err := d.kvmWorks(ctx, "krun"); err != nil {
		return fmt.Errorf("KVM does not work here: %w", err)
	}
	return nil
}
