package krun

import (
	"encoding/json"
	"fmt"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
)

// Tools are the programs and files of one VM.
type Tools struct {
	Binary   host.Program `json:"binary"`   // openshell-krun; its Files include both libraries
	Library  string       `json:"library"`  // libkrun
	Firmware string       `json:"firmware"` // libkrunfw
	Init     string       `json:"init"`     // openshell-init
}

var _ hypervisor.Lister = (*Tools)(nil)

// Read reads Tools from JSON.
func (*Hypervisor) Read(data []byte) (hypervisor.Tools, error) {
	t := new(Tools)
	return t, json.Unmarshal(data, t)
}

// Boot is a real processor's: krun needs KVM.
func (*Tools) Boot() hypervisor.Boot { return hypervisor.Native }

// Overhead is 0: the one process takes no more than those of any hypervisor.
func (*Tools) Overhead() int64 { return 0 }

// Facts are the libraries.
func (t *Tools) Facts() []drivers.Fact {
	return []drivers.Fact{{Name: "libkrun", Value: t.Library}, {Name: "libkrunfw", Value: t.Firmware}}
}

// fileMemory is how many bytes the guest needs for each file of its root: for a tmpfs
// inode, its name and two attributes. It was measured with a hundred thousand files.
const fileMemory = 1300

// RoomFor refuses a root whose skeleton would take more than half of the guest's memory:
// the guest has a stub for each file.
func (*Tools) RoomFor(m hypervisor.Machine, files uint64) error {
	if need := files * fileMemory; m.Memory > 0 && need > uint64(m.Memory)/2 {
		return &drivers.Error{
			Err: fmt.Errorf("the root has %d files, for which a guest of krun needs %d MiB of its %d MiB of memory",
				files, need>>20, m.Memory>>20),
			Hint: fmt.Sprintf("give it --memory %dm, or --hypervisor qemu, which needs none for them", need>>19+1),
		}
	}
	return nil
}
