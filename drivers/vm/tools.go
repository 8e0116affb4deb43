package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/initramfs"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/krunvm"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/qemu"
)

// toolCache remembers what was found out about programs, as long as their files
// stay the same.
type toolCache struct {
	mu    sync.Mutex
	tools map[string]tool
}

// tool is one program of the host.
type tool struct {
	monitor.Program
	size    int64
	changed time.Time

	flavor  qemu.Virtiofsd // of virtiofsd
	version string         // of virtiofsd
	krun    krunvm.Found   // of openshell-krun
	applets []string       // of busybox
}

// qemuTools finds all that a VM of the qemu hypervisor is made of.
func (d *Driver) qemuTools(ctx context.Context) (monitor.QEMU, error) {
	var q monitor.QEMU
	binary, err := d.qemuBinary(ctx)
	if err != nil {
		return q, err
	}
	virtiofsd, err := d.virtiofsd(ctx)
	if err != nil {
		return q, err
	}
	q.Binary, q.Virtiofsd, q.Flavor = binary.Program, virtiofsd.Program, virtiofsd.flavor
	kernel, err := d.kernel()
	if err != nil {
		return q, err
	}
	q.Kernel = kernel.Image
	q.Initramfs, err = initramfs.Cached(filepath.Join(d.cfg.CacheDir, cacheInitramfs), kernel, d.libexec(initProgram))
	if err != nil {
		return q, &drivers.Error{Op: "prepare the guest", Err: err,
			Hint: "see that openshell-init is installed beside openshell-vmm, and that " + d.cfg.CacheDir + " can be written"}
	}
	q.Accel, _ = d.accelerator(ctx)
	return q, nil
}

func (d *Driver) kernel() (initramfs.Kernel, error) {
	return initramfs.FindKernel(initramfs.Search{Explicit: d.cfg.Kernel})
}

func (d *Driver) qemuBinary(ctx context.Context) (tool, error) {
	program, pkg := qemu.Binary(d.arch)
	places := []string{program}
	if d.cfg.QEMU != "" {
		places = []string{d.cfg.QEMU}
	}
	path, err := findProgram("QEMU", places, pkg)
	if err != nil {
		return tool{}, err
	}
	t, err := d.tools.find(path, func(t *tool) (err error) {
		plugins, data := qemu.Files(path)
		t.Files, err = jail.Program(ctx, path, plugins...)
		for _, dir := range data {
			t.Files = append(t.Files, jail.Bind{Source: dir, Target: dir})
		}
		return err
	})
	if err != nil {
		return tool{}, &drivers.Error{Op: "use QEMU", Err: err, Hint: "install one that runs here (Debian: apt install " + pkg + ")"}
	}
	return t, nil
}

// virtiofsd prefers the Rust daemon, of which the C one is the forerunner.
func (d *Driver) virtiofsd(ctx context.Context) (tool, error) {
	const pkg = "virtiofsd, or qemu-system-common before Debian 13"
	places := []string{
		"/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "virtiofsd",
		"/usr/lib/qemu/virtiofsd", "/usr/libexec/qemu/virtiofsd",
	}
	if d.cfg.Virtiofsd != "" {
		places = []string{d.cfg.Virtiofsd}
	}
	path, err := findProgram("virtiofsd", places, pkg)
	if err != nil {
		return tool{}, err
	}
	t, err := d.tools.find(path, func(t *tool) (err error) {
		if t.flavor, t.version, err = qemu.DetectVirtiofsd(ctx, path); err != nil {
			return err
		}
		t.Files, err = jail.Program(ctx, path)
		return err
	})
	if err != nil {
		return tool{}, &drivers.Error{Op: "use virtiofsd", Err: err, Hint: "install one that runs here (Debian: apt install " + pkg + ")"}
	}
	return t, nil
}

// findProgram gives the first place that has an executable file; a place
// without a slash is looked up in PATH.
func findProgram(what string, places []string, pkg string) (string, error) {
	for _, place := range places {
		path, err := exec.LookPath(place)
		if err != nil {
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return "", err
		}
		return filepath.EvalSymlinks(path)
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

// find gives what is known of the program at path; learn finds it out.
func (c *toolCache) find(path string, learn func(*tool) error) (tool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return tool{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.tools[path]
	if ok && t.size == info.Size() && t.changed.Equal(info.ModTime()) {
		return t, nil
	}
	t = tool{size: info.Size(), changed: info.ModTime()}
	t.Path = path
	if err := learn(&t); err != nil {
		return tool{}, err
	}
	if c.tools == nil {
		c.tools = map[string]tool{}
	}
	c.tools[path] = t
	return t, nil
}

// accelerator says what runs the guest's instructions under QEMU, and why.
func (d *Driver) accelerator(ctx context.Context) (qemu.Accel, string) {
	if d.cfg.Accel != "" {
		return d.cfg.Accel, "it was asked for by " + AccelEnv
	}
	if r := d.kvmWorks(ctx, hypervisorQEMU); !r.Usable {
		return qemu.TCG, "KVM does not work here: " + r.Reason
	}
	return qemu.KVM, "KVM works here"
}
