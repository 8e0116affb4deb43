package monitor

import (
	"os"
	"runtime"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/qemu"
)

// Where things lie inside the jails of QEMU and virtiofsd.
const (
	jailKernel    = "/vm/kernel"
	jailInitramfs = "/vm/initramfs"
	jailUpper     = "/vm/upper.ext4"
	jailShared    = "/shared"
)

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
		m.virtiofsd("virtiofsd-root", qemu.Root, rootTree(m.cfg), rootListening),
		m.virtiofsd("virtiofsd-shares", qemu.Shares, sharesTree(m.cfg), sharesListening),
	} {
		if err := m.run(p); err != nil {
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
	}
	p := program{
		name: "qemu",
		path: m.cfg.QEMU.Binary,
		binds: []bind{
			{source: m.cfg.QEMU.Kernel, target: jailKernel},
			{source: m.cfg.QEMU.Initramfs, target: jailInitramfs},
		},
		files: []*os.File{ports.stdio, ports.console, ports.control, root, shares},
	}
	if m.cfg.Upper != "" {
		machine.Upper = jailUpper
		p.binds = append(p.binds, bind{source: m.cfg.Upper, target: jailUpper, writable: true})
	}
	if m.cfg.QEMU.Accel == qemu.KVM {
		p.devices = []string{"/dev/kvm"}
	}
	machine.FDs = qemu.FDs{Stdio: fd(0), Console: fd(1), Control: fd(2), Root: fd(3), Shares: fd(4)}
	p.args = machine.Args()
	return p
}

// fd is the number of an inherited file in the program that runs in the jail.
func fd(index int) int { return 3 + index }

func (m *monitor) virtiofsd(name string, device qemu.Device, tree []bind, listening *os.File) program {
	return program{
		name:  name,
		path:  m.cfg.QEMU.Virtiofsd,
		args:  qemu.VirtiofsdArgs(m.cfg.QEMU.Flavor, device, jailShared, fd(0)),
		binds: tree,
		files: []*os.File{listening},
	}
}

// rootTree is the rootfs with what it must not show covered.
func rootTree(c Config) []bind {
	return []bind{{source: c.Rootfs.Source, target: jailShared, masks: c.Rootfs.Masks}}
}

// sharesTree composes what the guest sees on the shares device.
func sharesTree(c Config) []bind {
	tree := []bind{
		{source: c.Boot, target: jailShared + "/" + guest.BootDir},
		{source: c.Auth, target: jailShared + "/" + guest.AuthName},
	}
	for _, mount := range c.Mounts {
		tree = append(tree, bind{source: mount.Source, target: jailShared + "/" + mount.Name, masks: mount.Masks})
	}
	return tree
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		f.Close()
	}
}
