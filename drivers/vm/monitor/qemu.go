package monitor

import (
	"os"
	"path"
	"runtime"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/qemu"
)

// Where things lie inside the jails of QEMU and virtiofsd.
const (
	jailKernel    = "/vm/kernel"
	jailInitramfs = "/vm/initramfs"
	jailUpper     = "/vm/upper.ext4"
	jailShared    = "/shared"
)

// Processes and threads that the programs may have: QEMU starts one for each
// CPU and up to 64 for its disk; a virtiofsd ten or so.
const (
	qemuTasks      = 128
	virtiofsdTasks = 64
)

// fileServer begins the names of the file servers' processes.
const fileServer = "virtiofsd-"

// startQEMU starts a virtiofsd for the root, one for the shares, and QEMU. They
// find each other by inherited sockets, so none waits for another.
func startQEMU(m *monitor, ports portFiles) error {
	rootListening, rootConnected, err := connectedPair(m.cfg.RunDir)
	if err != nil {
		return err
	}
	defer closeAll(rootListening, rootConnected)
	sharesListening, sharesConnected, err := connectedPair(m.cfg.RunDir)
	if err != nil {
		return err
	}
	defer closeAll(sharesListening, sharesConnected)
	for _, p := range []program{
		m.qemu(ports, rootConnected, sharesConnected),
		m.virtiofsd(fileServer+"root", qemu.Root, rootListening),
		m.virtiofsd(fileServer+"shares", qemu.Shares, sharesListening),
	} {
		if err := m.start(p); err != nil {
			return err
		}
	}
	return nil
}

func (m *monitor) qemu(ports portFiles, root, shares *os.File) program {
	machine := qemu.Machine{
		Arch: runtime.GOARCH, Accel: m.cfg.QEMU.Accel,
		CPUs: m.cfg.CPUs, Memory: m.cfg.Memory,
		Kernel: jailKernel, Initramfs: jailInitramfs,
		FDs: qemu.FDs{Stdio: 3, Console: 4, Control: 5, Root: 6, Shares: 7},
	}
	p := program{
		name: "qemu", Program: m.cfg.QEMU.Binary, profile: jail.Strict, tasks: qemuTasks,
		devices: []string{"/dev/null"}, // it tries on it whether files can be locked
		tree: []jail.Bind{
			{Source: m.cfg.QEMU.Kernel, Target: jailKernel},
			{Source: m.cfg.QEMU.Initramfs, Target: jailInitramfs},
		},
		files: []*os.File{ports.stdio, ports.console, ports.control, root, shares},
	}
	if m.cfg.Upper != "" {
		machine.Upper = jailUpper
		p.tree = append(p.tree, jail.Bind{Source: m.cfg.Upper, Target: jailUpper, Writable: true})
	}
	if m.cfg.QEMU.Accel == qemu.KVM {
		p.tree = append(p.tree, m.cfg.kvmDevice())
	}
	p.args = machine.Args()
	return p
}

func (m *monitor) virtiofsd(name string, device qemu.Device, listening *os.File) program {
	p := program{
		name: name, Program: m.cfg.QEMU.Virtiofsd, profile: jail.FileServer, tasks: virtiofsdTasks, proc: true,
		files: []*os.File{listening},
	}
	if m.cfg.QEMU.Flavor == qemu.VirtiofsdC {
		p.profile = jail.ChrootServer
	}
	if os.Geteuid() == 0 {
		p.caps = []string{"CAP_DAC_READ_SEARCH"} // files of all users are served, each with its mode
		if device == qemu.Root {
			// An overlay opens the files of its lower layer with O_NOATIME, which the
			// kernel allows to nobody else but their owners. There is nothing in the
			// jail that could be changed with it: all mounts are read-only.
			p.caps = append(p.caps, "CAP_FOWNER")
		}
	}
	p.args = qemu.VirtiofsdArgs(m.cfg.QEMU.Flavor, device, jailShared, 3, p.caps)
	if device == qemu.Root {
		p.tree, p.masks = composeRoot(m.cfg)
	} else {
		p.tree, p.masks = composeShares(m.cfg, jailShared)
	}
	return p
}

// composeRoot is the rootfs with what it must not show covered.
func composeRoot(c Config) (tree []jail.Bind, masks []string) {
	return compose(nil, nil, c.Rootfs, jailShared)
}

// composeShares puts under dir what the guest sees as the shares.
func composeShares(c Config, dir string) (tree []jail.Bind, masks []string) {
	tree, masks = compose(tree, masks, Tree{Source: c.Boot}, path.Join(dir, guest.BootDir))
	tree, masks = compose(tree, masks, Tree{Source: c.Auth}, path.Join(dir, guest.AuthName))
	for _, mount := range c.Mounts {
		tree, masks = compose(tree, masks, mount.Tree, path.Join(dir, mount.Name))
	}
	return tree, masks
}

func compose(tree []jail.Bind, masks []string, t Tree, target string) ([]jail.Bind, []string) {
	for _, m := range t.Masks {
		masks = append(masks, path.Join(target, m))
	}
	return append(tree, jail.Bind{Source: t.Source, Is: t.Is, Target: target}), masks
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		f.Close()
	}
}
