// Package guest is the contract between a VM's monitor on the host and the guest init:
// the boot spec that says what to run, the names of devices and directories, and the
// messages of the control channel. Both sides import it, so it imports nothing of the
// host's side.
//
// The boot spec is a file. The kernel command line would not do: everyone in the guest
// can read it, it is short (1,320 bytes were measured to work under libkrun), and it
// can't carry a quote.
package guest

import (
	"strconv"

	"openshell-vm/internal/vocab"
)

// Version is the version of the boot spec and of the control channel. The init reports
// its own in Hello, and the monitor refuses a different one.
const Version = 2

// OldestSpec is the oldest version of a boot spec that the init carries out. A gateway
// that runs on after an upgrade writes the one that it knows, and starts the monitor and
// the init that are installed now. These two speak Version.
const OldestSpec = 1

// Device tags and port names, the same under all hypervisors.
const (
	TagRoot   = "root"   // the rootfs directory (cache auto)
	TagShares = "shares" // the composed shares
	// A VM with a single device has neither tag. That device is the init's own root, with
	// the shares in SharesDir and the rootfs in RootDir.

	PortStdio   = "stdio"   // frames of session 0, both ways
	PortConsole = "console" // kernel messages, host reads only
	PortControl = "control" // frames: Control messages, and streams of execs

	UpperSerial = "upper" // virtio-blk serial of the writable ext4 disk
	ImageSerial = "image" // of the read-only EROFS disk that is the root, if there is one
)

// Layout of the composed shares directory.
const (
	BootDir  = "boot"      // read-only, holds SpecFile
	SpecFile = "spec.json" // the BootSpec
	AuthName = "auth"      // the sandbox's own share; ShareName(i) holds the i-th of the others
	DoorName = "door"      // the directory with the program that asks the gateway, if there is one

	// RootListFile is the list of the root's files (package rootlist), beside SpecFile. It
	// is there if the init has to build a skeleton of the root. Older monitors make none.
	RootListFile = "root.list"
	// MountName(i) holds the i-th user mount.

	RootDir   = "root"   // on a single device: the rootfs
	SharesDir = "shares" // on a single device: BootDir, AuthName, … lie below it
)

// The names in BootSpec.DoorDir. The program is the one in DoorName, if that has it.
const (
	DoorSocket  = "gateway.sock"
	DoorProgram = "openshell-token"
)

// ShareName returns the name of the directory in the composed shares that is the i-th share of the
// user's own.
func ShareName(i int) string { return "share-" + strconv.Itoa(i) }

// MountName returns the name of the i-th user mount's directory in the composed shares.
func MountName(i int) string { return "mount-" + strconv.Itoa(i) }

// WritableTag returns the tag of the device with the i-th directory that the guest may write
// to.
func WritableTag(i int) string { return "writable-" + strconv.Itoa(i) }

// The initramfs: see package initramfs.
const (
	// InitramfsFormat is part of a cached archive's key. It changes when the same input
	// has to give another archive.
	InitramfsFormat = 2
	// ModulesDir holds the kernel's modules. Sorted by name they are in load order.
	ModulesDir = "/modules"
)

// InitramfsDirs are the mount points that the init finds at its start, even if its root
// is not an initramfs.
var InitramfsDirs = []string{"/dev", "/proc", "/sys", "/run", ModulesDir}

// Traits are what a guest has to know of its hypervisor. They are abilities and not
// names, so the init knows no hypervisor.
type Traits struct {
	// CachesNames: this kernel may cache names of the shares for seconds, and their file
	// server fails silently when it is out of descriptors. So the init looks at both often.
	CachesNames bool `json:"cachesNames,omitempty"`
	// LoneDisk: the disks do not have these serial numbers. At most one can be written to;
	// that is the one for UpperSerial.
	LoneDisk bool `json:"loneDisk,omitempty"`
	// ExitRequest is an ioctl on the root directory that sets the exit code of the
	// hypervisor's process on the host; 0 if there is none.
	ExitRequest uint32 `json:"exitRequest,omitempty"`
	// EndsByRestart: the machine can't power off. A restart ends it.
	EndsByRestart bool `json:"endsByRestart,omitempty"`
}

// BootSpec is the whole description of one boot.
type BootSpec struct {
	Version  int           `json:"version"`
	ID       string        `json:"id"`       // sandbox id
	Hostname string        `json:"hostname"` // the sandbox's name
	Process  vocab.Process `json:"process"`
	Stdin    bool          `json:"stdin"` // false: standard input is /dev/null

	// Image: the root is not the device TagRoot but the disk ImageSerial.
	Image bool `json:"image,omitempty"`
	// Dirs are made if they are missing: an image's volumes, and its working directory.
	Dirs []string `json:"dirs,omitempty"`
	// StopSignal asks the workload to end; 0 means SIGTERM.
	StopSignal int `json:"stopSignal,omitempty"`

	Ephemeral bool         `json:"ephemeral"` // the overlay's upper layer is a tmpfs instead of the disk
	Mounts    []GuestMount `json:"mounts"`

	// Names is how many unused names of the host's directories the guest's kernel may
	// remember; 0 means any number. Each one costs the file server a descriptor.
	Names uint64 `json:"names,omitempty"`

	AuthDir   string `json:"authDir"`   // where the sandbox's own share is mounted
	TokenUser string `json:"tokenUser"` // the only user, beside root, who may read what is in contract.OwnDir; "" for every user
	// Shares are those of the user's own: see ShareName. None is writable.
	Shares []GuestMount `json:"shares,omitempty"`

	// MirrorDir is where the init shows copies of the shares in the guest's memory, which tell
	// programs of changes (inotify); "" for nowhere.
	MirrorDir string `json:"mirrorDir,omitempty"`

	// DoorDir is where the init listens for who asks the gateway, on DoorSocket; "" for nowhere.
	DoorDir string `json:"doorDir,omitempty"`

	// Network is nil if the guest has no network, as with older gateways.
	Network *Network `json:"network,omitempty"`

	// Traits is nil if an older gateway wrote the spec. It may start a newer init.
	Traits *Traits `json:"traits,omitempty"`

	// StopGrace bounds how long an orderly shutdown may take after the workload has ended,
	// in nanoseconds; 0 means the init's default.
	StopGrace int64 `json:"stopGrace"`
}

// Network is how the guest's card is set up.
type Network struct {
	MAC       string   `json:"mac"` // which card
	MTU       int      `json:"mtu"`
	Addresses []string `json:"addresses"` // with the length of their prefix
	Gateways  []string `json:"gateways"`  // for all other addresses
	Resolv    string   `json:"resolv"`    // content of /etc/resolv.conf
	Hosts     string   `json:"hosts"`     // lines of /etc/hosts, beside the guest's own
}

// GuestMount is one user mount, or a share. Name is its directory in the composed shares. With Writable
// it is the tag of a device of its own, to be mounted writable.
type GuestMount struct {
	Name     string `json:"name"`
	Target   string `json:"target"`
	Writable bool   `json:"writable,omitempty"`
}
