package qemu

import (
	"context"
	"path/filepath"
	"runtime"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/initramfs"
	"openshell-vm/drivers/vm/jail"
)

// cacheInitramfs is below the host's cache directory.
const cacheInitramfs = "initramfs"

// virtiofsd is a virtiofsd that was found.
type virtiofsd struct {
	host.Program
	flavor  Virtiofsd
	version string
}

// Find finds QEMU, a virtiofsd and a guest kernel, and makes an initramfs for the kernel.
func (q *Hypervisor) Find(ctx context.Context, h *host.Host) (hypervisor.Tools, error) {
	binary, err := q.binary(ctx)
	if err != nil {
		return nil, err
	}
	server, err := q.virtiofsd(ctx)
	if err != nil {
		return nil, err
	}
	kernel, err := q.kernel()
	if err != nil {
		return nil, err
	}
	archive, err := initramfs.Cached(filepath.Join(h.CacheDir, cacheInitramfs), kernel, h.Program(host.InitProgram))
	if err != nil {
		return nil, &drivers.Error{Op: "prepare the guest", Err: err,
			Hint: "see that openshell-init is installed beside openshell-vmm, and that " + h.CacheDir + " can be written"}
	}
	accel, _ := q.accelerator(ctx, h)
	return &Tools{
		Binary: binary, Accel: accel, Virtiofsd: server.Program, Flavor: server.flavor, Kernel: kernel.Image, Initramfs: archive,
	}, nil
}

func (q *Hypervisor) kernel() (initramfs.Kernel, error) {
	return initramfs.FindKernel(initramfs.Search{Explicit: q.Kernel})
}

func (q *Hypervisor) binary(ctx context.Context) (host.Program, error) {
	program, pkg := Binary(runtime.GOARCH)
	places := []string{program}
	if q.Binary != "" {
		places = []string{q.Binary}
	}
	path, err := host.FindProgram("QEMU", places, pkg)
	if err != nil {
		return host.Program{}, err
	}
	p, err := q.binaries.Find(path, func() (host.Program, error) {
		plugins, data := Files(path)
		files, err := jail.Program(ctx, path, plugins...)
		for _, dir := range data {
			files = append(files, jail.Bind{Source: dir, Target: dir})
		}
		return host.Program{Path: path, Files: files}, err
	})
	if err != nil {
		return p, &drivers.Error{Op: "use QEMU", Err: err, Hint: "install one that runs here (Debian: apt install " + pkg + ")"}
	}
	return p, nil
}

// virtiofsd finds a virtiofsd. It prefers the Rust daemon to the older C one.
func (q *Hypervisor) virtiofsd(ctx context.Context) (virtiofsd, error) {
	const pkg = "virtiofsd, or qemu-system-common before Debian 13"
	places := []string{
		"/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "virtiofsd",
		"/usr/lib/qemu/virtiofsd", "/usr/libexec/qemu/virtiofsd",
	}
	if q.Virtiofsd != "" {
		places = []string{q.Virtiofsd}
	}
	path, err := host.FindProgram("virtiofsd", places, pkg)
	if err != nil {
		return virtiofsd{}, err
	}
	v, err := q.virtiofsds.Find(path, func() (v virtiofsd, err error) {
		if v.flavor, v.version, err = DetectVirtiofsd(ctx, path); err != nil {
			return v, err
		}
		v.Path = path
		v.Files, err = jail.Program(ctx, path)
		return v, err
	})
	if err != nil {
		return v, &drivers.Error{Op: "use virtiofsd", Err: err, Hint: "install one that runs here (Debian: apt install " + pkg + ")"}
	}
	return v, nil
}
