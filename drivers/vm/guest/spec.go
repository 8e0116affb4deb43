// Package guest is the contract between a VM's monitor on the host and the
// guest init inside: the boot spec that says what to run, the names of devices
// and directories, and the messages of the control channel. Both sides are
// built from it, so of the host's side it imports the form of a Process only.
//
// What to run travels in a file, never on the kernel command line: that is
// readable by everyone in the guest, short (1,320 bytes were measured to work
// under libkrun) and cannot carry a quote.
package guest

import (
	"strconv"

	"openshell-vm/drivers"
)

// Version is the boot spec's and the control channel's. The init says its own
// in Hello; the monitor refuses another one.
const Version = 2

// Device tags and port names, the same under all hypervisors.
const (
	TagRoot   = "root"   // the rootfs directory (cache auto)
	TagShares = "shares" // the composed shares
	// Where there is but one device, it is the init's own root: the shares are
	// then in SharesDir of it, the rootfs in RootDir of it.

	PortStdio   = "stdio"   // frames of session 0, both ways
	PortConsole = "console" // kernel messages, host reads only
	PortControl = "control" // frames: Control messages, and streams of execs

	UpperSerial = "upper" // virtio-blk serial of the writable ext4 disk
)

// Layout of the composed shares directory.
const (
	BootDir  = "boot"      // read-only, holds SpecFile
	SpecFile = "spec.json" // the BootSpec
	AuthName = "auth"      // the share

	// RootListFile is the list of the root's files, beside SpecFile: see package
	// rootlist. It is made where the init needs it for a stand-in of the root; an
	// older monitor makes none.
	RootListFile = "root.list"
	// MountName(i) holds the i-th user mount.

	RootDir   = "root"   // on a single device: the rootfs
	SharesDir = "shares" // on a single device: BootDir, AuthName, … lie below it
)

// MountName is the directory of the i-th user mount in the composed shares.
func MountName(i int) string { return "mount-" + strconv.Itoa(i) }

// The initramfs, which the host builds and the init unpacks: see package
// initramfs.
const (
	// InitramfsFormat changes when the same input must give another archive.
	InitramfsFormat = 1
	// ModulesDir holds the kernel's modules; sorted by name they are in load order.
	ModulesDir = "/modules"
)

// InitramfsDirs are the mount points that the init finds at its start, also where
// its root is not an initramfs.
var InitramfsDirs = []string{"/dev", "/proc", "/sys", "/run", ModulesDir}

// Traits are what a guest has to know of what runs it. They are abilities, not
// names: an init knows no hypervisor.
type Traits struct {
	// CachesNames says that this kernel may remember names of the shares for
	// seconds, and that their server fails silently when it is out of descriptors.
	// So the init looks often at both.
	CachesNames bool `json:"cachesNames,omitempty"`
	// LoneDisk says that the disk has no serial number of ours: it is the only one.
	LoneDisk bool `json:"loneDisk,omitempty"`
	// ExitRequest is an ioctl on the root directory that sets what the host's process
	// exits with; 0 for none.
	ExitRequest uint32 `json:"exitRequest,omitempty"`
	// EndsByRestart says that the machine has no power switch: a restart ends it.
	EndsByRestart bool `json:"endsByRestart,omitempty"`
}

// BootSpec is the whole description of one boot.
type BootSpec struct {
	Version  int             `json:"version"`
	ID       string          `json:"id"`       // sandbox id
	Hostname string          `json:"hostname"` // the sandbox's name
	Process  drivers.Process `json:"process"`
	Stdin    bool            `json:"stdin"` // false: standard input is /dev/null

	Ephemeral bool         `json:"ephemeral"` // overlay's upper layer on tmpfs instead of the disk
	Mounts    []GuestMount `json:"mounts"`

	// Names is how many names of the host's directories the guest may remember
	// without using them, each of which costs their server a descriptor; 0 for any number.
	Names uint64 `json:"names,omitempty"`

	AuthDir   string `json:"authDir"`   // where the share is mounted
	TokenUser string `json:"tokenUser"` // the only one who may read the share; "" for every user

	// Traits is nil in what an older gateway wrote, which may start a newer init.
	Traits *Traits `json:"traits,omitempty"`

	// StopGrace bounds how long an orderly shutdown may take after the
	// workload ended, in nanoseconds of the guest's monotonic clock.
	StopGrace int64 `json:"stopGrace"`
}

// GuestMount is one user mount: Name is its directory in the composed shares.
type GuestMount struct {
	Name   string `json:"name"`
	Target string `json:"target"`
}
