// Package listed is the list of what each process of a VM may have in its jail. It is written
// by hand, so that a test can compare it with what the hypervisors really give. A path that
// is added there has to be added here, too, with a reason.
package listed

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor/krun"
	"openshell-vm/drivers/vm/hypervisor/qemu"
	"openshell-vm/drivers/vm/jail/jailtest"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/network"
)

// of has the lists, by the process's name in a monitor's report.
var of = map[string]func(c monitor.Config) jailtest.Want{
	"qemu": ofQEMU, "krun": ofKrun,
	"virtiofsd-root": ofRootServer, "virtiofsd-shares": ofSharesServer, "virtiofsd-writable-0": ofWriter,
	"network": ofNetwork,
}

// qemuTools returns a sandbox's Tools. They are empty if its hypervisor is another one.
func qemuTools(c monitor.Config) (t qemu.Tools) {
	_ = json.Unmarshal(c.Tools, &t)
	return t
}

func krunTools(c monitor.Config) (t krun.Tools) {
	_ = json.Unmarshal(c.Tools, &t)
	return t
}

// Want returns the list for a running process of the sandbox whose directory is dir.
func Want(dir, process string) (jailtest.Want, error) {
	c, err := monitor.ReadConfig(dir)
	if err != nil {
		return jailtest.Want{}, err
	}
	list, ok := of[process]
	if !ok {
		return jailtest.Want{}, fmt.Errorf("no process of a VM is called %q", process)
	}
	want := list(c)
	want.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	want.Pipes = 1 // its output
	want.HostFiles = append(want.HostFiles, os.DevNull)
	return want, nil
}

// ofQEMU has no directory of a user, and of the host only the kernel.
func ofQEMU(c monitor.Config) jailtest.Want {
	w := jailtest.Want{
		Paths:   append(targets(qemuTools(c).Binary), "/vm/kernel", "/vm/initramfs"),
		Devices: []string{os.DevNull}, Tasks: 128,
		Sockets: 3 + 2*(2+len(c.Writable)) + card(c), // the guest's ports, and for each virtiofsd one and a pair's end
	}
	if qemuTools(c).Accel == qemu.KVM {
		w.Devices = append(w.Devices, "/dev/kvm")
	}
	return withDisk(withDevices(w), c)
}

// ofKrun is for one process that is both file server and hypervisor.
func ofKrun(c monitor.Config) jailtest.Want {
	const root = "/vm/root"
	w := jailtest.Want{
		Paths: slices.Concat(targets(krunTools(c).Binary), proc, below(root, "openshell-init", "dev", "proc", "sys", "run"),
			tree(path.Join(root, guest.RootDir), c.Rootfs), shares(path.Join(root, guest.SharesDir), c)),
		Devices: []string{"/dev/kvm"}, Tasks: uint64(64 + c.CPUs), Caps: serverCaps(),
		Sockets:   2 + card(c),            // the guest's ports, but for the console
		HostFiles: []string{"/dev/pts/*"}, // that
	}
	return withDisk(withDevices(w), c)
}

// ofNetwork has no file but its own program. It has the host's network: that is its task.
func ofNetwork(c monitor.Config) jailtest.Want {
	return jailtest.Want{
		Paths: []string{"/" + network.Program}, Tasks: 64, HostNetwork: true,
		Sockets: 2 + len(c.Network.Forwards), // the monitor's, the guest's card, the ports
	}
}

// card is the number of sockets of a VM's network card.
func card(c monitor.Config) int {
	if c.MAC == "" {
		return 0
	}
	return 1
}

func ofRootServer(c monitor.Config) jailtest.Want {
	w := server(c, tree("/shared", c.Rootfs))
	if os.Geteuid() == 0 { // an overlay opens what it serves with O_NOATIME
		w.Caps |= 1 << unix.CAP_FOWNER
		w.Kept |= w.Caps
	}
	return w
}

func ofSharesServer(c monitor.Config) jailtest.Want {
	return server(c, shares("/shared", c))
}

// ofWriter has one directory, which is all that it may change.
func ofWriter(c monitor.Config) jailtest.Want {
	w := server(c, []string{"/shared"})
	own := uint64(1 << unix.CAP_DAC_OVERRIDE)
	if os.Geteuid() == 0 {
		own |= 1<<unix.CAP_FOWNER | 1<<unix.CAP_CHOWN | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	}
	w.Writable, w.Kept, w.Caps = []string{"/shared"}, w.Kept&^w.Caps|own, own
	return w
}

// server is for a virtiofsd that serves already.
func server(c monitor.Config, served []string) jailtest.Want {
	w := jailtest.Want{
		Paths: slices.Concat(targets(qemuTools(c).Virtiofsd), proc, served), Tasks: 64, Caps: serverCaps(),
		Sockets: 2, // QEMU's, and the other end of that pair
	}
	if qemuTools(c).Flavor == qemu.VirtiofsdC {
		// A thread that it starts before it confines itself keeps these.
		w.Root, w.Kept = "/shared", serverCaps()|1<<unix.CAP_SETPCAP|1<<unix.CAP_SYS_CHROOT
	}
	return w
}

// serverCaps returns what lets root's server open the files of all users, whatever their
// modes.
func serverCaps() uint64 {
	if os.Geteuid() == 0 {
		return 1 << unix.CAP_DAC_READ_SEARCH
	}
	return 0
}

// proc is a jail's /proc.
var proc = []string{"/.proc", "/proc/sys/fs/file-max", "/proc/sys/fs/nr_open"}

func shares(dir string, c monitor.Config) []string {
	list := below(dir, guest.BootDir, guest.AuthName)
	for _, m := range c.Mounts {
		list = append(list, tree(path.Join(dir, m.Name), m.Tree)...)
	}
	return list
}

// tree returns a directory and the masks in it.
func tree(dir string, t drivers.Tree) []string {
	return append([]string{dir}, below(dir, t.Masks...)...)
}

func below(dir string, names ...string) (paths []string) {
	for _, name := range names {
		paths = append(paths, path.Join(dir, name))
	}
	return paths
}

// targets returns where a program's own files are in the jail.
func targets(p host.Program) (paths []string) {
	for _, b := range p.Files {
		paths = append(paths, b.Target)
	}
	return paths
}

func withDevices(w jailtest.Want) jailtest.Want {
	w.Paths = append(w.Paths, w.Devices...)
	return w
}

// withDisk adds the disk: it is all that a VM may change on its host.
func withDisk(w jailtest.Want, c monitor.Config) jailtest.Want {
	if c.Upper != "" {
		const disk = "/vm/upper.ext4"
		w.Paths, w.Writable = append(w.Paths, disk), []string{disk}
	}
	return w
}
