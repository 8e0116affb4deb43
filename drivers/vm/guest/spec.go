// Package guest is the contract between a VM's monitor on the host and the
// guest init inside: the boot spec that says what to run, the names of devices
// and directories, and the messages of the control channel. Both sides are
// built from it, so it imports nothing of the host's side.
//
// What to run travels in a file, never on the kernel command line: that is
// readable by everyone in the guest, short (1,320 bytes were measured to work
// under libkrun) and cannot carry a quote.
package guest

import "openshell-vm/drivers"

// Version is the boot spec's and the control channel's. The init says its own
// in Hello; the monitor refuses another one.
const Version = 2

// Device tags and port names, the same under both hypervisors.
const (
	TagRoot   = "root"   // qemu only: the rootfs directory (cache auto)
	TagShares = "shares" // the composed shares; under krun the root too
	// Under krun all of it travels on the root device: shares are then found
	// in SharesDir of it, the rootfs in RootDir of it.

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
	// rootlist. krun only; an older monitor makes none.
	RootListFile = "root.list"
	// MountName(i) holds the i-th user mount.
	RootDir   = "root"   // krun only: the rootfs
	SharesDir = "shares" // krun only: BootDir, AuthName, … lie below it
)

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

	// StopGrace bounds how long an orderly shutdown may take after the
	// workload ended, in nanoseconds of the guest's monotonic clock.
	StopGrace int64 `json:"stopGrace"`
}

// GuestMount is one user mount: Name is its directory in the composed shares.
type GuestMount struct {
	Name   string `json:"name"`
	Target string `json:"target"`
}
