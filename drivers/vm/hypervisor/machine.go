package hypervisor

import (
	"cmp"
	"path"
	"slices"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/kvm"
)

// Machine describes a VM for any hypervisor. It is part of the monitor's configuration.
// Paths are the host's.
type Machine struct {
	RunDir string `json:"runDir"` // for sockets, 0700; removed at the end
	Boot   string `json:"boot"`   // directory with the boot spec

	Rootfs drivers.Tree `json:"rootfs"`
	Image  string       `json:"image,omitempty"` // block image that is the root; "" for Rootfs
	Auth   string       `json:"auth"`            // the sandbox's own share
	// Shares are those of the user's own that it sees, too.
	Shares []Shared `json:"shares,omitempty"`
	// Door is the directory with the gateway's socket for this sandbox; "" if there is none. The
	// guest sees the directory, and can't connect to a socket in it: the monitor does that for it.
	Door   string   `json:"door,omitempty"`
	Mounts []Shared `json:"mounts,omitempty"`
	// Writable are the directories that the guest may write to. Each is a device of its own.
	Writable []Shared `json:"writable,omitempty"`
	Upper    string   `json:"upper,omitempty"` // disk image; "" for an ephemeral sandbox

	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory"`        // bytes, whole MiB
	MAC    string `json:"mac,omitempty"` // of its network card; "" for none
	KVM    string `json:"kvm,omitempty"` // device node that the jail has as /dev/kvm; "" for the host's
}

// Shared is one user mount, or a share; Name is its directory in the composed shares, or the tag of its
// device.
type Shared struct {
	Name string `json:"name"`
	drivers.Tree
}

// Where the disk and the block image lie in a jail.
const (
	JailUpper = "/vm/upper.ext4"
	JailImage = "/vm/image.erofs"
)

// Disks returns the binds of the disk and the block image, as far as there are any. Several
// VMs may have one image: none of them can write to it.
func (m Machine) Disks() (binds []jail.Bind) {
	if m.Upper != "" {
		binds = append(binds, jail.Bind{Source: m.Upper, Target: JailUpper, Writable: true})
	}
	if m.Image != "" {
		binds = append(binds, jail.Bind{Source: m.Image, Target: JailImage})
	}
	return binds
}

// KVMDevice returns the bind of KVM's device node.
func (m Machine) KVMDevice() jail.Bind {
	return jail.Bind{Source: cmp.Or(m.KVM, kvm.Device), Target: kvm.Device, Device: true}
}

// Composition is a directory in a jail, put together from directories of the host. Masks
// are paths in it that an empty directory covers.
type Composition struct {
	Binds []jail.Bind
	Masks []string
}

// Add shows a tree at target.
func (c *Composition) Add(t drivers.Tree, target string) {
	for _, m := range t.Masks {
		c.Masks = append(c.Masks, path.Join(target, m))
	}
	c.Binds = append(c.Binds, jail.Bind{Source: t.Source, Is: t.Is, Target: target})
}

// AddWritable shows a tree at target, for the guest to write to. Such a tree has no masks:
// see drivers.JudgeWritable.
func (c *Composition) AddWritable(t drivers.Tree, target string) {
	c.Binds = append(c.Binds, jail.Bind{Source: t.Source, Is: t.Is, Target: target, Writable: true})
}

// AddShares shows below dir what the guest sees as the shares.
func (c *Composition) AddShares(m Machine, dir string) {
	c.Add(drivers.Tree{Source: m.Boot}, path.Join(dir, guest.BootDir))
	c.Add(drivers.Tree{Source: m.Auth}, path.Join(dir, guest.AuthName))
	if m.Door != "" {
		c.Add(drivers.Tree{Source: m.Door}, path.Join(dir, guest.DoorName))
	}
	for _, mount := range append(slices.Clip(m.Shares), m.Mounts...) {
		c.Add(mount.Tree, path.Join(dir, mount.Name))
	}
}
