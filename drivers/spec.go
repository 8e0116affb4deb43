package drivers

import (
	"encoding/json"
	"reflect"

	"openshell-vm/internal/vocab"
)

// Labels of the objects that an engine keeps for us. A gateway that lost its records finds
// its sandboxes by them. They prove nothing: see Keeper.
const (
	LabelSandboxID = "openshell.ai/sandbox-id"
	LabelName      = "openshell.ai/sandbox-name"
	LabelGatewayID = "openshell.ai/gateway-id"
	LabelSpec      = "openshell.ai/spec" // the Spec as JSON; holds no secret

	LabelPrefix = vocab.LabelPrefix // of these, which users can't set
)

// Spec is all that a driver needs to make one sandbox. It holds no secret.
//
// Its own fields are for every sandbox. Those of VM are for virtual machines only: a driver
// of containers refuses a Spec in which one of them is not zero.
//
// Its JSON is kept in LabelSpec and in a VM's directory. Other versions of the gateway may
// read it later: see MarshalJSON.
type Spec struct {
	ID        string `json:"id"`                  // unique, [a-z0-9]{12}; names the engine's object
	Name      string `json:"name,omitempty"`      // the user's name for it; [a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}
	GatewayID string `json:"gatewayId,omitempty"` // for LabelGatewayID
	Dir       string `json:"dir,omitempty"`       // the sandbox's own state directory on the host, 0700; the driver may keep files there

	Auth     Mount      `json:"auth,omitzero"`      // the sandbox's own share
	Shares   []Share    `json:"shares,omitempty"`   // shares of the user's own that it sees, too
	Door     Mount      `json:"door,omitzero"`      // the directory with the gateway's socket; zero in an older gateway's sandboxes
	Mounts   []Mount    `json:"mounts,omitempty"`   // what the user added
	Writable []Writable `json:"writable,omitempty"` // what the user added for it to write to

	// Hidden are host directories (state and runtime) that must not be seen
	// through the root or any of Mounts and Writable: see Exposure. Auth, Shares and Door are exempt.
	Hidden []string `json:"hidden,omitempty"`

	Process    Process `json:"process,omitzero"`
	Stdin      bool    `json:"stdin,omitempty"`      // keep standard input open for Attach
	AutoRemove bool    `json:"autoRemove,omitempty"` // run --rm; drivers ignore it, a gateway that lost the record needs it

	CPUs   float64 `json:"cpus,omitempty"`   // 0: the driver's default
	Memory int64   `json:"memory,omitempty"` // bytes; 0: the driver's default

	Image      string `json:"image,omitempty"`      // image reference; a container has one
	Entrypoint string `json:"entrypoint,omitempty"` // replaces the image's entrypoint; "" keeps that

	Network string `json:"network,omitempty"` // NetworkUser or NetworkNone; "" as older versions had it
	Ports   []Port `json:"ports,omitempty"`   // of the host, that lead to ports inside

	Labels  map[string]string `json:"labels,omitempty"` // the user's own; none begins with LabelPrefix
	Restart RestartPolicy     `json:"restart,omitzero"` // drivers ignore it, a gateway that lost the record needs it

	// Tokens are those of the share. Drivers ignore them, a gateway that lost the record needs
	// them.
	Tokens vocab.Tokens `json:"tokens,omitzero"`

	VM VM `json:"-"`
}

// Values of Spec.Network. An engine of containers gives its own network for NetworkUser.
const (
	NetworkUser = vocab.NetworkUser
	NetworkNone = vocab.NetworkNone
)

// Port is a port of the host that leads into a sandbox.
type Port = vocab.Port

// RestartPolicy says when the gateway starts a sandbox again that ended by itself.
type RestartPolicy = vocab.RestartPolicy

// VM is what only a virtual machine has.
type VM struct {
	Hypervisor string `json:"hypervisor,omitempty"` // its name; "" for the first that works
	Rootfs     string `json:"rootfs,omitempty"`     // host directory; "" for the driver's own root
	Ephemeral  bool   `json:"ephemeral,omitempty"`  // changes live in memory and are lost at stop
	Disk       int64  `json:"disk,omitempty"`       // bytes that the sandbox may write; 0: the driver's default
	TokenUser  string `json:"tokenUser,omitempty"`  // the only user inside who may read the share; "" for all of them

	// Inotify has the guest keep a mirror of its share, which tells programs of changes.
	Inotify bool `json:"inotify,omitempty"`

	AllowHost   []uint16 `json:"allowHost,omitempty"`   // ports of the host's loopback that it may reach
	AllowEgress []string `json:"allowEgress,omitempty"` // NAME[:PORT]; if there is one, it reaches nothing else

	// RequireJail makes Resolve and each Start fail on a host that can't confine the VM
	// fully.
	RequireJail bool `json:"requireJail,omitempty"`
}

// IsZero reports whether no option of a virtual machine is given.
func (v VM) IsZero() bool { return reflect.ValueOf(v).IsZero() }

// plain has Spec's fields without its methods, for encoding/json.
type plain Spec

// MarshalJSON writes the fields of Spec and VM in one flat object. Older versions
// had all of them in Spec, with names in upper case, and the entry point in the process.
// Go's decoder ignores the case of names, so older versions read what this one writes.
func (s Spec) MarshalJSON() ([]byte, error) {
	type process struct {
		Process
		Entrypoint []string `json:"entrypoint,omitempty"`
	}
	older := process{Process: s.Process}
	if s.Entrypoint != "" {
		older.Entrypoint = []string{s.Entrypoint}
	}
	return json.Marshal(struct {
		plain
		VM
		Process process `json:"process"`
	}{plain(s), s.VM, older})
}

// UnmarshalJSON reads what this version or an older one wrote.
func (s *Spec) UnmarshalJSON(data []byte) error {
	var older struct{ Process struct{ Entrypoint []string } }
	if err := json.Unmarshal(data, &older); err != nil {
		return err
	}
	err := json.Unmarshal(data, &struct {
		*plain
		*VM
	}{(*plain)(s), &s.VM})
	if program := older.Process.Entrypoint; len(program) > 0 {
		s.Entrypoint = program[0]
	}
	if s.Image != "" && s.VM.Hypervisor == "auto" { // older versions wrote that for containers too
		s.VM.Hypervisor = ""
	}
	return err
}

// Process is what to run. If Args is empty, the image's or the driver's own command is run.
type Process = vocab.Process
