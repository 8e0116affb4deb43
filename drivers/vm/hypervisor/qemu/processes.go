package qemu

import (
	"os"
	"runtime"
	"slices"

	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/jail"
)

// Paths inside the jails of QEMU and virtiofsd.
const (
	jailKernel    = "/vm/kernel"
	jailInitramfs = "/vm/initramfs"
	jailShared    = "/shared"
)

// How many tasks the programs may have. QEMU starts a thread for each CPU and up to 64
// for its disk; a virtiofsd starts about ten.
const (
	qemuTasks      = 128
	virtiofsdTasks = 64
)

// served is one virtio-fs device, and what its virtiofsd serves.
type served struct {
	name   string
	device Device
	hypervisor.Composition
}

// Processes returns QEMU, a virtiofsd for the root unless that is an image, one for the
// shares, and one for each directory that the guest may write to. Inherited sockets connect
// them, so none has to wait for another.
func (t *Tools) Processes(m hypervisor.Machine, ports hypervisor.Ports) ([]hypervisor.Process, error) {
	qemu := hypervisor.Process{Name: "qemu", Files: []*os.File{ports.Stdio, ports.Console, ports.Control}}
	fds := FDs{Stdio: 3, Console: 4, Control: 5}
	all := []hypervisor.Process{qemu}
	for _, s := range devices(m) {
		listening, connected, err := connectedPair(m.RunDir)
		if err != nil {
			hypervisor.CloseAll(qemu.Files[3:]...)
			for _, p := range all[1:] {
				hypervisor.CloseAll(p.Files...)
			}
			return nil, err
		}
		fds.add(s.device, 3+len(qemu.Files))
		qemu.Files = append(qemu.Files, connected)
		all = append(all, t.virtiofsd(s, listening))
	}
	if ports.Network != nil {
		fds.Network = 3 + len(qemu.Files)
		qemu.Files = append(qemu.Files, ports.Network)
	}
	qemu.Jail = t.qemu(m, fds)
	all[0] = qemu
	return all, nil
}

// devices returns the virtio-fs devices of a VM.
func devices(m hypervisor.Machine) (all []served) {
	if m.Image == "" {
		root := served{name: "virtiofsd-root", device: Root}
		root.Add(m.Rootfs, jailShared)
		all = append(all, root)
	}
	shares := served{name: "virtiofsd-shares", device: Shares}
	shares.AddShares(m, jailShared)
	all = append(all, shares)
	for _, w := range m.Writable {
		s := served{name: "virtiofsd-" + w.Name, device: Writable}
		s.AddWritable(w.Tree, jailShared)
		all = append(all, s)
	}
	return all
}

// qemu returns QEMU's jail.
func (t *Tools) qemu(m hypervisor.Machine, fds FDs) jail.Config {
	machine := Machine{
		Arch: runtime.GOARCH, Accel: t.Accel,
		CPUs: m.CPUs, Memory: m.Memory,
		Kernel: jailKernel, Initramfs: jailInitramfs, FDs: fds,
	}
	if fds.Network != 0 {
		machine.MAC = m.MAC
	}
	if m.Upper != "" {
		machine.Upper = hypervisor.JailUpper
	}
	if m.Image != "" {
		machine.Image = hypervisor.JailImage
	}
	binds := slices.Concat(t.Binary.Files, []jail.Bind{
		{Source: t.Kernel, Target: jailKernel},
		{Source: t.Initramfs, Target: jailInitramfs},
	}, m.Disks())
	if t.Accel == KVM {
		binds = append(binds, m.KVMDevice())
	}
	return jail.Config{
		Profile: jail.Strict, Path: t.Binary.Path, Args: machine.Args(), Binds: binds, Tasks: qemuTasks,
		Devices: []string{os.DevNull}, // QEMU tests on it whether files can be locked
	}
}

func (t *Tools) virtiofsd(s served, listening *os.File) hypervisor.Process {
	j := jail.Config{
		Profile: t.profile(s.device), Path: t.Virtiofsd.Path, Tasks: virtiofsdTasks, Proc: true,
		Binds: slices.Concat(t.Virtiofsd.Files, s.Binds), Masks: s.Masks, Caps: capabilities(s.device),
	}
	j.Args = VirtiofsdArgs(t.Flavor, s.device, jailShared, 3, j.Caps)
	return hypervisor.Process{Name: s.name, Jail: j, Server: true, Files: []*os.File{listening}}
}

func (t *Tools) profile(d Device) jail.Profile {
	switch {
	case t.Flavor == VirtiofsdC && d == Writable:
		return jail.WritingChrootServer
	case t.Flavor == VirtiofsdC:
		return jail.ChrootServer
	case d == Writable:
		return jail.WritingServer
	}
	return jail.FileServer
}

// capabilities returns what a device's virtiofsd needs to serve the files of all users,
// whatever their modes. In the jail of an ordinary user they are worth something for this
// user's files only.
func capabilities(d Device) []string {
	root := os.Geteuid() == 0
	switch {
	case d == Writable && root:
		// The guest's root may do what root does, but make no device nodes and no files with
		// capabilities. The guest's users make files as themselves.
		return []string{"CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"}
	case d == Writable:
		return []string{"CAP_DAC_OVERRIDE"} // the guest's root writes files that their modes protect from their owner
	case d == Root && root:
		// An overlay opens the files of its lower layer with O_NOATIME. Without CAP_FOWNER
		// the kernel allows that only to a file's owner. With it nothing in the jail can be
		// changed: all mounts are read-only.
		return []string{"CAP_DAC_READ_SEARCH", "CAP_FOWNER"}
	case root:
		return []string{"CAP_DAC_READ_SEARCH"}
	}
	return nil
}
