// Package vocab has the types that the API, the records on disk, the drivers and the guest
// have in common. They are only data.
//
// Their JSON is in records, in labels of engines, in boot specs and on the API's wire. It
// outlives the version that wrote it: a field's name never changes, and a new field is left
// out while it is zero. A type that only one of these needs is defined there.
package vocab

import "time"

// Process is what to run. Args empty means the image's own command, or a shell.
type Process struct {
	Args     []string `json:"args,omitempty"`
	Env      []string `json:"env,omitempty"` // K=V; nothing is added from the host
	Dir      string   `json:"dir,omitempty"`
	User     string   `json:"user,omitempty"` // name or uid, with :group or :gid
	Terminal bool     `json:"terminal,omitempty"`
	Size     Size     `json:"size,omitzero"`
}

// Size is a terminal window in character cells.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Mount is a directory of the host that a sandbox sees, as the user gave it: read-only, unless
// Writable. A driver gets a drivers.Mount or a drivers.Writable, which was checked.
type Mount struct {
	Source   string `json:"source"` // "" for a volume
	Target   string `json:"target"`
	Writable bool   `json:"writable,omitempty"`
	Volume   string `json:"volume,omitempty"` // the name of the volume that is mounted in place of a directory
}

// Networks of a sandbox. "" is what an older version's sandboxes have: an engine's own network
// for containers, none for a VM.
const (
	NetworkUser = "user" // it reaches what its host's user reaches, but not the host
	NetworkNone = "none" // nothing but its own loopback
)

// Port is a port of the host that leads to one of a sandbox.
type Port struct {
	HostIP   string `json:"hostIp,omitempty"` // "" for 127.0.0.1
	Host     uint16 `json:"host,omitempty"`   // 0 for one that is chosen
	Guest    uint16 `json:"guest"`
	Protocol string `json:"protocol,omitempty"` // udp; "" for tcp
}

// LabelPrefix begins the labels that are ours, which users can't set.
const LabelPrefix = "openshell.ai/"

// RestartPolicy says when the gateway starts a sandbox again that ended by itself.
type RestartPolicy struct {
	Name string `json:"name,omitempty"` // RestartNo, …; "" is RestartNo
	Max  int    `json:"max,omitempty"`  // with RestartOnFailure: at most so often in a row; 0: without end
}

// Names of restart policies. They mean what they mean for docker.
const (
	RestartNo            = "no"
	RestartOnFailure     = "on-failure"
	RestartAlways        = "always"
	RestartUnlessStopped = "unless-stopped"
)

// State is the state of a sandbox.
type State string

// The states that an engine can report.
const (
	Created State = "created" // known, never started
	Running State = "running"
	Exited  State = "exited" // ended, with an exit code
	Dead    State = "dead"   // ended without one: killed hypervisor, lost engine object
)

// The states that only the gateway can report.
const (
	Starting   State = "starting"
	Stopping   State = "stopping"
	Unknown    State = "unknown"    // its engine has not answered yet
	Unreadable State = "unreadable" // its record can't be used
	Restarting State = "restarting" // it ended, and its restart policy starts it again soon
)

// The desired states. The reconciler brings a sandbox there.
const (
	WantRunning = "running"
	WantStopped = "stopped"
	WantGone    = "gone" // it is being removed
)

// Fact is one named line of doctor's or inspect's output.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// PullPolicy says when an image is fetched.
type PullPolicy string

// The policies, as docker run has them. PullMissing is the zero value.
const (
	PullMissing PullPolicy = ""       // if it is not here
	PullAlways  PullPolicy = "always" // if its source has another one now, too
	PullNever   PullPolicy = "never"  // an image that is not here is an error
)

// Image is an image for VMs that is kept on this host. What its maker says of it is nobody's
// word but his.
type Image struct {
	ID        string    `json:"id"` // sha256:… of its configuration
	Names     []string  `json:"names"`
	Digest    string    `json:"digest,omitempty"` // sha256:… of its manifest; "" if it had none
	Pulled    time.Time `json:"pulled"`
	Size      int64     `json:"size"`                // bytes of the disk
	Sandboxes []string  `json:"sandboxes,omitempty"` // ids of those that were made of it
	Path      string    `json:"path,omitempty"`      // the block image

	Config ImageConfig `json:"config"`
}

// ImageConfig is what an image's maker says of how to run it.
type ImageConfig struct {
	Created      time.Time         `json:"created,omitzero"`
	Architecture string            `json:"architecture,omitempty"`
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	Env          []string          `json:"env,omitempty"`
	User         string            `json:"user,omitempty"`
	Dir          string            `json:"dir,omitempty"`
	StopSignal   string            `json:"stopSignal,omitempty"`
	Volumes      []string          `json:"volumes,omitempty"` // sorted
	Ports        []string          `json:"ports,omitempty"`   // that it listens on; none is published for that
	Labels       map[string]string `json:"labels,omitempty"`
}

// Freed says what a prune has removed.
type Freed struct {
	Images []string `json:"images,omitempty"` // their names, or the ids of those without one
	Bytes  int64    `json:"bytes"`
}

// PullProgress is one layer's state while an image is fetched.
type PullProgress struct {
	Layer   string `json:"layer,omitempty"`   // short digest; "" for the image as a whole
	Status  string `json:"status"`            // the engine's words
	Current int64  `json:"current,omitempty"` // bytes
	Total   int64  `json:"total,omitempty"`   // bytes; 0 if not known
}
