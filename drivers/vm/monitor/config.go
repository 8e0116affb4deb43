package monitor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/cgroup"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/kvm"
	"openshell-vm/drivers/vm/qemu"
	"openshell-vm/internal/atomicfile"
)

// Config is all that a monitor is told. It lies in the sandbox's directory as
// ConfigFile and holds no secret.
type Config struct {
	ID     string `json:"id"`
	Dir    string `json:"dir"`    // the sandbox's state directory
	RunDir string `json:"runDir"` // for sockets, 0700; removed at the end
	Boot   string `json:"boot"`   // directory with the boot spec

	Rootfs Tree     `json:"rootfs"`
	Auth   string   `json:"auth"` // the share
	Mounts []Shared `json:"mounts,omitempty"`
	Upper  string   `json:"upper,omitempty"` // disk image; "" for an ephemeral sandbox

	CPUs   int   `json:"cpus"`
	Memory int64 `json:"memory"` // bytes

	Hypervisor string `json:"hypervisor"` // "qemu" or "krun"
	QEMU       QEMU   `json:"qemu,omitzero"`
	Krun       Krun   `json:"krun,omitzero"`
	KVM        string `json:"kvm,omitempty"` // device node that the VM has as /dev/kvm; "" for the host's

	// Cgroup is what the monitor makes for the VM; the zero Group for none. Where no
	// memory is limited, NoMemoryLimit says why.
	Cgroup        cgroup.Group `json:"cgroup,omitzero"`
	MemoryLimit   int64        `json:"memoryLimit,omitempty"` // bytes, of the guest and its programs
	NoMemoryLimit string       `json:"noMemoryLimit,omitempty"`

	RequireJail bool `json:"requireJail,omitempty"` // refuse a host that can't confine the VM fully

	BootDeadline time.Duration `json:"bootDeadline"` // from the start of the hypervisor, or the last word of progress, to the workload's
	StopGrace    time.Duration `json:"stopGrace"`    // for the last output, after the workload ended
	Attempt      int           `json:"attempt"`      // 1, or 2 after a boot that hung or crashed
}

// longestBoots is how many deadlines a boot may take in the whole, whatever
// progress it tells of.
const longestBoots = 10

// LongestBoot bounds the time from a monitor's start to the workload's.
func (c Config) LongestBoot() time.Duration { return longestBoots * c.BootDeadline }

// kvmDevice is KVM's node in a jail.
func (c Config) kvmDevice() jail.Bind {
	return jail.Bind{Source: cmp.Or(c.KVM, kvm.Device), Target: kvm.Device, Device: true}
}

// Tree is a host directory with what must not be seen of it: Masks are paths
// below it over which an empty directory is put.
type Tree struct {
	Source string `json:"source"`
	// Is what was checked at Source; the zero Directory stands for whatever is there.
	Is    drivers.Directory `json:"is,omitzero"`
	Masks []string          `json:"masks,omitempty"`
}

// Shared is one user mount; Name is its directory in the composed shares.
type Shared struct {
	Name string `json:"name"`
	Tree
}

// QEMU says which programs and files make a VM of the qemu hypervisor.
type QEMU struct {
	Binary    Program        `json:"binary"`
	Accel     qemu.Accel     `json:"accel"`
	Virtiofsd Program        `json:"virtiofsd"`
	Flavor    qemu.Virtiofsd `json:"flavor"`
	Kernel    string         `json:"kernel"`
	Initramfs string         `json:"initramfs"`
}

// Program is a program of the host with the files that it loads.
type Program struct {
	Path  string      `json:"path"`
	Files []jail.Bind `json:"files"`
}

// ReadConfig reads the Config of the sandbox whose directory is dir.
func ReadConfig(dir string) (Config, error) {
	var c Config
	data, err := os.ReadFile(filepath.Join(dir, ConfigFile))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("%s: %w", ConfigFile, err)
	}
	return c, nil
}

// Write puts the Config where the monitor finds it.
func (c Config) Write() error {
	return atomicfile.WriteJSON(filepath.Join(c.Dir, ConfigFile), c, atomicfile.Volatile)
}

// file is a path in the sandbox's directory.
func (c Config) file(name string) string { return filepath.Join(c.Dir, name) }
