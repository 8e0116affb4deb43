package hypervisor

import (
	"cmp"
	"path"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/kvm"
)

// Machine is what a VM is to be, whichever hypervisor runs it. It is a part of the
// monitor's configuration; paths are the host's.
type Machine struct {
	RunDir string `json:"runDir"` // for sockets, 0700; removed at the end
	Boot   string `json:"boot"`   // directory with the boot spec

	Rootfs host.Tree `json:"rootfs"`
	Auth   string    `json:"auth"` // the share
	Mounts []Shared  `json:"mounts,omitempty"`
	Upper  string    `json:"upper,omitempty"` // disk image; "" for an ephemeral sandbox

	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory"`        // bytes, whole MiB
	KVM    string `json:"kvm,omitempty"` // device node that the VM has as /dev/kvm; "" for the host's
}

// Shared is one user mount; Name is its directory in the composed shares.
type Shared struct {
	Name string `json:"name"`
	host.Tree
}

// JailUpper is where the disk lies in the jail of the process that has it.
const JailUpper = "/vm/upper.ext4"

// Disk shows the disk in a jail, if there is one.
func (m Machine) Disk() []jail.Bind {
	if m.Upper == "" {
		return nil
	}
	return []jail.Bind{{Source: m.Upper, Target: JailUpper, Writable: true}}
}

// KVMDevice is KVM's node in a jail.
func (m Machine) KVMDevice() jail.Bind {
	return jail.Bind{Source: cmp.Or(m.KVM, kvm.Device), Target: kvm.Device, Device: true}
}

// Composition is a directory in a jail, put together of the host's. Masks are what
// of it an empty directory covers.
type Composition struct {
	Binds []jail.Bind
	Masks []string
}

// Add shows a tree at target.
func (c *Composition) Add(t host.Tree, target string) {
	for _, m := range t.Masks {
		c.Masks = append(c.Masks, path.Join(target, m))
	}
	c.Binds = append(c.Binds, jail.Bind{Source: t.Source, Is: t.Is, Target: target})
}

// AddShares puts under dir what the guest sees as the shares.
func (c *Composition) AddShares(m Machine, dir string) {
	c.Add(host.Tree{Source: m.Boot}, path.Join(dir, guest.BootDir))
	c.Add(host.Tree{Source: m.Auth}, path.Join(dir, guest.AuthName))
	for _, mount := range m.Mounts {
		c.Add(mount.Tree, path.Join(dir, mount.Name))
	}
}
