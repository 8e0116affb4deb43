// Package krunvm is the contract between a VM's monitor and openshell-krun, the program
// that becomes a VM of the krun hypervisor: its configuration, the files that it
// inherits, and its report on the libkrun that it found.
//
// The monitor runs it in a jail (Config's paths are the jail's), as
//
//	openshell-krun run        with the descriptors below
//	openshell-krun probe [LIBKRUN LIBKRUNFW]
//
// run reads a Config from ConfigFD and never returns. Its exit code is the workload's,
// or 125 after one line on standard error that says why there is no VM. probe prints a
// Found.
package krunvm

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path"
)

// Descriptors that openshell-krun inherits. Console is a terminal: nothing else can be
// the guest kernel's console. Stdio and Control are stream sockets.
const (
	ConfigFD  = 3
	ConsoleFD = 4
	StdioFD   = 5
	ControlFD = 6
	NetworkFD = 7 // only with a MAC
)

// openshell-krun's commands.
const (
	RunCommand   = "run"
	ProbeCommand = "probe"
)

// MinVersion is the first libkrun that can share a directory read-only.
const MinVersion = "1.18.0"

// MaxMemoryMiB is the largest memory that libkrun's interface can express.
const MaxMemoryMiB = 1<<32 - 1

// Config describes one VM. Paths are the jail's. It holds no secret.
type Config struct {
	Library  string `json:"library"`  // libkrun
	Firmware string `json:"firmware"` // libkrunfw

	CPUs      int `json:"cpus"` // 1 to 255
	MemoryMiB int `json:"memoryMiB"`

	Root string `json:"root"` // composed directory: the guest's whole root, read-only
	Init string `json:"init"` // in Root: the program that becomes process 1
	Disk string `json:"disk"` // raw image, writable; "" for none
	MAC  string `json:"mac"`  // of the network card; "" for none

	Image string `json:"image,omitempty"` // raw image, read-only; "" for none
}

// Validate refuses a Config that openshell-krun could not use.
func (c Config) Validate() error {
	if c.CPUs < 1 || c.CPUs > 255 {
		return fmt.Errorf("a krun VM has 1 to 255 CPUs, not %d", c.CPUs)
	}
	if c.MemoryMiB < 1 || c.MemoryMiB > MaxMemoryMiB {
		return fmt.Errorf("a krun VM can't have %d MiB of memory", c.MemoryMiB)
	}
	for name, p := range map[string]string{"library": c.Library, "firmware": c.Firmware, "root": c.Root, "init": c.Init} {
		if !path.IsAbs(p) || path.Clean(p) != p {
			return fmt.Errorf("the %s %q is not a clean absolute path", name, p)
		}
	}
	for _, disk := range []string{c.Disk, c.Image} {
		if disk != "" && !path.IsAbs(disk) {
			return fmt.Errorf("the disk %q is not an absolute path", disk)
		}
	}
	if mac, err := net.ParseMAC(c.MAC); c.MAC != "" && (err != nil || len(mac) != 6) {
		return fmt.Errorf("%q is no address of a network card", c.MAC)
	}
	return nil
}

// Write writes the Config as JSON.
func (c Config) Write(w io.Writer) error { return json.NewEncoder(w).Encode(c) }

// Read reads a Config that Write has written, and validates it.
func Read(r io.Reader) (Config, error) {
	var c Config
	if err := json.NewDecoder(r).Decode(&c); err != nil {
		return c, fmt.Errorf("read the VM's configuration: %w", err)
	}
	return c, c.Validate()
}

// Found is what a probe reports of this host's libkrun.
type Found struct {
	Library  string `json:"library"`           // absolute path
	Firmware string `json:"firmware"`          // absolute path
	Version  string `json:"version"`           // libkrun is of this version or a later one
	Problem  string `json:"problem,omitempty"` // why it can't be used; "" if it can
	Newer    bool   `json:"newer,omitempty"`   // the Problem is that libkrun is newer than this project knows
}
