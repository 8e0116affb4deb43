package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"openshell-vm/drivers/vm/cgroup"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/network"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// Config is all that a monitor is told. It lies in the sandbox's directory as
// ConfigFile and holds no secret.
type Config struct {
	ID  string `json:"id"`
	Dir string `json:"dir"` // the sandbox's state directory

	hypervisor.Machine

	Hypervisor string `json:"hypervisor"` // its name
	// Tools is the JSON of the hypervisor's own Tools. It is written under the
	// hypervisor's name.
	Tools json.RawMessage `json:"-"`

	// Network is the network of the VM's card; nil if it has none. NetworkProgram is
	// openshell-net.
	Network        *network.Config `json:"network,omitempty"`
	NetworkProgram string          `json:"networkProgram,omitempty"`

	// Cgroup is what the monitor makes for the VM; the zero Group means none. If memory
	// is not limited, NoMemoryLimit says why.
	Cgroup        cgroup.Group `json:"cgroup,omitzero"`
	MemoryLimit   int64        `json:"memoryLimit,omitempty"` // bytes, for the guest and its programs together
	NoMemoryLimit string       `json:"noMemoryLimit,omitempty"`

	RequireJail bool `json:"requireJail,omitempty"` // refuse a host that can't confine the VM fully

	// BootDeadline is how long a boot may take without progress, from the hypervisor's
	// start to the workload's.
	BootDeadline time.Duration `json:"bootDeadline"`
	StopGrace    time.Duration `json:"stopGrace"` // for the last output, after the workload has ended
	Attempt      int           `json:"attempt"`   // 1, or 2 after a boot that hung or crashed
}

// longestBoots is how many deadlines a boot may take in all, whatever progress it
// reports.
const longestBoots = 10

// LongestBoot bounds the time from a monitor's start to the workload's.
func (c Config) LongestBoot() time.Duration { return longestBoots * c.BootDeadline }

// plain is a Config without methods, so that encoding/json treats it field by field.
type plain Config

// MarshalJSON writes the tools under the hypervisor's name.
func (c Config) MarshalJSON() ([]byte, error) {
	data, err := json.Marshal(plain(c))
	if err != nil || c.Tools == nil {
		return data, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	if _, taken := fields[c.Hypervisor]; taken {
		return nil, fmt.Errorf("a hypervisor can't be called %q", c.Hypervisor)
	}
	fields[c.Hypervisor] = c.Tools
	return json.Marshal(fields)
}

// UnmarshalJSON reads what any version of the driver wrote.
func (c *Config) UnmarshalJSON(data []byte) error {
	var fields map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(data, (*plain)(c)), json.Unmarshal(data, &fields)); err != nil {
		return err
	}
	c.Tools = fields[c.Hypervisor]
	return nil
}

// ReadConfig reads the Config of the sandbox whose directory is dir.
func ReadConfig(dir string) (Config, error) {
	var c Config
	data, err := plainfile.Read(filepath.Join(dir, ConfigFile), maxFile)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("%s: %w", ConfigFile, err)
	}
	return c, nil
}

// Write writes the Config to Dir, where the monitor finds it.
func (c Config) Write() error {
	return atomicfile.WriteJSON(filepath.Join(c.Dir, ConfigFile), c, atomicfile.Volatile)
}

// file returns the path of a file in the sandbox's directory.
func (c Config) file(name string) string { return filepath.Join(c.Dir, name) }
