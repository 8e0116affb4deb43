// Package vocab has the words that the API, the records on disk, the drivers and the
// guest have in common, each defined once. They are data: nothing here does anything.
//
// Their JSON is in records, in labels of engines, in boot specs and on the API's wire,
// and outlives the version that wrote it: a field's name stays, and a new one is left
// out while it is zero. What only one of these needs is a type of its own there.
package vocab

// Process is what to run. Args empty means the image's own command, or a shell.
type Process struct {
	Args     []string `json:"args,omitempty"`
	Env      []string `json:"env,omitempty"` // K=V; nothing of the host's is added
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

// Mount is a directory of the host's that a sandbox sees, read-only, as the user gave
// it. There is no writable form. A driver takes a drivers.Mount, which was checked.
type Mount struct {
	Source string `json:"source"`
	Target string `json:"target"`
}

// State is what a sandbox does.
type State string

// What an engine can tell of a sandbox.
const (
	Created State = "created" // known, never started
	Running State = "running"
	Exited  State = "exited" // ended, with an exit code
	Dead    State = "dead"   // ended without one: killed hypervisor, lost engine object
)

// What only the gateway can tell.
const (
	Starting   State = "starting"
	Stopping   State = "stopping"
	Unknown    State = "unknown"    // its engine has not answered yet
	Unreadable State = "unreadable" // its record can't be used
)

// The desired states. The reconciler moves a sandbox there.
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
	Total   int64  `json:"total,omitempty"`   // bytes; 0 where it is not known
}
