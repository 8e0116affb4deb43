// Package vocab has the types that the API, the records on disk, the drivers and the guest
// have in common. They are only data.
//
// Their JSON is in records, in labels of engines, in boot specs and on the API's wire. It
// outlives the version that wrote it: a field's name never changes, and a new field is left
// out while it is zero. A type that only one of these needs is defined there.
package vocab

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

// Mount is a directory of the host that a sandbox sees read-only, as the user gave it. There
// is no writable form. A driver gets a drivers.Mount, which was checked.
type Mount struct {
	Source string `json:"source"`
	Target string `json:"target"`
}

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

// PullProgress is one layer's state while an image is fetched.
type PullProgress struct {
	Layer   string `json:"layer,omitempty"`   // short digest; "" for the image as a whole
	Status  string `json:"status"`            // the engine's words
	Current int64  `json:"current,omitempty"` // bytes
	Total   int64  `json:"total,omitempty"`   // bytes; 0 if not known
}
