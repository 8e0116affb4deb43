package drivers

import (
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// Labels on everything that an engine keeps for us. A gateway that has lost
// its records finds its sandboxes again by them. They prove nothing: see Keeper.
const (
	LabelSandboxID = "openshell.ai/sandbox-id"
	LabelName      = "openshell.ai/sandbox-name"
	LabelGatewayID = "openshell.ai/gateway-id"
	LabelSpec      = "openshell.ai/spec" // the record's Spec as JSON; holds no secret
)

// Mount exposes a host directory inside a sandbox, always read-only,
// submounts too. There is no writable form of it: a driver that cannot enforce
// that refuses the sandbox.
//
// A Mount is made by NewMount only, so that no driver sees an unchecked path.
type Mount struct {
	source string
	target string
}

// NewMount checks both paths: absolute, clean, and not one that the sandbox
// needs for itself. It does not look at the file system.
func NewMount(source, target string) (Mount, error) {
	if !filepath.IsAbs(source) || filepath.Clean(source) != source {
		return Mount{}, fmt.Errorf("mount source %q is not a clean absolute path", source)
	}
	if !path.IsAbs(target) || path.Clean(target) != target {
		return Mount{}, fmt.Errorf("mount target %q is not a clean absolute path", target)
	}
	for _, p := range []string{source, target} {
		if strings.ContainsAny(p, "\x00\n") {
			return Mount{}, fmt.Errorf("mount path %q contains a NUL or a newline", p)
		}
	}
	switch top := "/" + strings.SplitN(strings.TrimPrefix(target, "/"), "/", 2)[0]; {
	case target == "/":
		return Mount{}, fmt.Errorf("mount target / would hide the whole root")
	case top == "/proc" || top == "/sys" || top == "/dev":
		return Mount{}, fmt.Errorf("mount target %q lies in %s, which belongs to the sandbox's kernel", target, top)
	}
	return Mount{source: source, target: target}, nil
}

// Source is the directory on the host.
func (m Mount) Source() string { return m.source }

// Target is the path inside the sandbox.
func (m Mount) Target() string { return m.target }

// mountJSON is how a Mount is kept in a record.
type mountJSON struct {
	Source string `json:"source"`
	Target string `json:"target"`
}

// MarshalJSON writes both paths; the zero Mount is null.
func (m Mount) MarshalJSON() ([]byte, error) {
	if m == (Mount{}) {
		return []byte("null"), nil
	}
	return json.Marshal(mountJSON{m.source, m.target})
}

// UnmarshalJSON reads a Mount through NewMount, so that a record cannot bring
// in a path that NewMount refuses.
func (m *Mount) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*m = Mount{}
		return nil
	}
	var j mountJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	checked, err := NewMount(j.Source, j.Target)
	if err == nil {
		*m = checked
	}
	return err
}

// Spec is all that a driver needs to make one sandbox. It holds no secret.
type Spec struct {
	ID        string // unique, [a-z0-9]{12}; names the engine's object
	Name      string // the user's name for it; [a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}
	GatewayID string // for LabelGatewayID
	Dir       string // the sandbox's own state directory on the host, 0700; the driver may keep files there

	Auth   Mount   // the share
	Mounts []Mount // what the user added

	// Hidden are host directories (state and runtime) that must not be seen
	// through Rootfs or any of Mounts: see Exposure. Auth is exempt.
	Hidden []string

	Rootfs    string // host directory, for vm; "" with Image set, or for a root of the driver's own
	Image     string // image reference, for docker and podman
	Ephemeral bool   // vm: changes live in memory and are lost at stop

	Process Process
	Stdin   bool // keep standard input open for Attach

	AutoRemove bool // the gateway removes it with its end; kept for one that lost its record

	CPUs   float64 // 0: the driver's default
	Memory int64   // bytes; 0: the driver's default
	Disk   int64   // vm: bytes that the sandbox may write; 0: the driver's default

	// TokenUser is the only user inside a VM who may read the share; "" for
	// all of them. Docker and podman refuse it.
	TokenUser string

	// RequireJail refuses, at Resolve and at each Start, a host that can't
	// confine the VM fully. Docker and podman refuse it.
	RequireJail bool

	Hypervisor string            // vm: "auto", "krun" or "qemu"
	Labels     map[string]string // further labels, for docker and podman
}

// Process is what to run. Args empty means the image's own command.
type Process struct {
	Args       []string `json:"args,omitempty"`
	Env        []string `json:"env,omitempty"` // K=V, complete: nothing of the host's is added
	Dir        string   `json:"dir,omitempty"`
	User       string   `json:"user,omitempty"` // name or uid, with :group or :gid
	Terminal   bool     `json:"terminal,omitempty"`
	Size       Size     `json:"size,omitzero"`
	Entrypoint []string `json:"entrypoint,omitempty"` // docker, podman; nil for the image's
}
