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

// Processes returns QEMU, a virtiofsd for the shares, and one for the root unless that is
// an image. Inherited sockets connect them, so none has to wait for another.
func (t *Tools) Processes(m hypervisor.Machine, ports hypervisor.Ports) ([]hypervisor.Process, error) {
	sharesListening, sharesConnected, err := connectedPair(m.RunDir)
	if err != nil {
		return nil, err
	}
	if m.Image != "" {
		return []hypervisor.Process{
			t.qemu(m, ports, nil, sharesConnected),
			t.virtiofsd(m, "virtiofsd-shares", Shares, sharesListening),
		}, nil
	}
	rootListening, rootConnected, err := connectedPair(m.RunDir)
	if err != nil {
		hypervisor.CloseAll(sharesListening, sharesConnected)
		return nil, err
	}
	return []hypervisor.Process{
		t.qemu(m, ports, rootConnected, sharesConnected),
		t.virtiofsd(m, "virtiofsd-root", Root, rootListening),
		t.virtiofsd(m, "virtiofsd-shares", Shares, sharesListening),
	}, nil
}

func (t *Tools) qemu(m hypervisor.Machine, ports hypervisor.Ports, root, shares *os.File) hypervisor.Process {
	machine := Machine{
		Arch: runtime.GOARCH, Accel: t.Accel,
		CPUs: m.CPUs, Memory: m.Memory,
		Kernel: jailKernel, Initramfs: jailInitramfs,
		FDs: FDs{Stdio: 3, Console: 4, Control: 5, Shares: 6},
	}
	files := []*os.File{ports.Stdio, ports.Console, ports.Control, shares}
	if root != nil {
		machine.FDs.Root = 7
		files = append(files, root)
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
	return hypervisor.Process{
		Name: "qemu",
		Jail: jail.Config{
			Profile: jail.Strict, Path: t.Binary.Path, Args: machine.Args(), Binds: binds, Tasks: qemuTasks,
			Devices: []string{os.DevNull}, // QEMU tests on it whether files can be locked
		},
		Files: files,
	}
}

func (t *Tools) virtiofsd(m hypervisor.Machine, name string, device Device, listening *os.File) hypervisor.Process {
	var served hypervisor.Composition
	if device == Root {
		served.Add(m.Rootfs, jailShared)
	} else {
		served.AddShares(m, jailShared)
	}
	j := jail.Config{
		Profile: jail.FileServer, Path: t.Virtiofsd.Path, Tasks: virtiofsdTasks, Proc: true,
		Binds: slices.Concat(t.Virtiofsd.Files, served.Binds), Masks: served.Masks,
	}
	if t.Flavor == VirtiofsdC {
		j.Profile = jail.ChrootServer
	}
	if os.Geteuid() == 0 {
		j.Caps = []string{"CAP_DAC_READ_SEARCH"} // to serve the files of all users, whatever their modes
		if device == Root {
			// An overlay opens the files of its lower layer with O_NOATIME. Without
			// CAP_FOWNER the kernel allows that only to a file's owner. With it nothing in
			// the jail can be changed: all mounts are read-only.
			j.Caps = append(j.Caps, "CAP_FOWNER")
		}
	}
	j.Args = VirtiofsdArgs(t.Flavor, device, jailShared, 3, j.Caps)
	return hypervisor.Process{Name: name, Jail: j, Server: true, Files: []*os.File{listening}}
}
