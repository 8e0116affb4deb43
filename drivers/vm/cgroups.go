package vm

import (
	"crypto/sha256"
	"fmt"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/cgroup"
	"openshell-vm/drivers/vm/monitor"
)

// cgroupName returns a name that is unique on this host: other gateways have other
// directories.
func cgroupName(cfg *monitor.Config) string {
	sum := sha256.Sum256([]byte(cfg.Dir))
	return fmt.Sprintf("openshell-vm-%s-%x", cfg.ID, sum[:4])
}

// What the programs of a VM take of the host's memory beside the guest's own, in bytes.
const (
	// programsMemory is for the programs of any hypervisor. Measured for QEMU and two
	// virtiofsds, with 512 MiB under TCG: 112 MiB at the boot, and 127 MiB after 2 minutes
	// of hashing and writing. Of these, 75 MiB were translated code.
	programsMemory = 256 << 20
	// nameMemory is what a file server and the host's kernel keep for a name that the guest
	// remembers: a descriptor, an inode and a directory entry, 1.6 KB on ext4 (measured),
	// and the server's own record.
	nameMemory = 2 << 10
	// writerMemory is for the virtiofsd of a directory that can be written to. The kernel
	// frees what it keeps of the files when the limit is reached.
	writerMemory = 16 << 20
	// networkMemory is for openshell-net: the bound above which it collects garbage all the
	// time (224 MiB), and some more. Idle it has 20 MiB.
	networkMemory = 256 << 20
	// guestName is the least that the guest's kernel keeps for such a name. So it remembers
	// no more names than its memory holds of them.
	guestName = 1 << 10
)

// placeVM sets where the VM's cgroup goes, and the limit on its memory. On a host without a
// place for one, the VM has no cgroup. overhead is Tools.Overhead.
func placeVM(cfg *monitor.Config, names uint64, overhead int64) {
	place := cgroup.Here()
	cfg.Cgroup = place.Group(cgroupName(cfg))
	cfg.MemoryLimit = memoryLimit(cfg.Memory, names) + overhead + int64(len(cfg.Writable))*writerMemory
	if cfg.Network != nil {
		cfg.MemoryLimit += networkMemory
	}
	if place.NoMemory != nil {
		cfg.MemoryLimit, cfg.NoMemoryLimit = 0, place.NoMemory.Error()
	}
}

// memoryLimit returns the limit for all of a VM but its monitor, in bytes. The kernel also
// counts its own tables: 1 % of the guest's memory (measured); the limit has 3 % for that.
// It counts cached files, too, but frees these when the limit is reached.
func memoryLimit(guest int64, names uint64) int64 {
	return guest + guest/32 + programsMemory + min(int64(names), guest/guestName)*nameMemory
}

// limitFact is for doctor.
func limitFact() drivers.Fact {
	place := cgroup.Here()
	value := "each VM has one, by a cgroup in " + place.Memory
	if place.NoMemory != nil {
		value = "VMs have none on this host: " + place.NoMemory.Error() + "; " + cgroup.Hint
	}
	return drivers.Fact{Name: "memory limit", Value: value}
}
