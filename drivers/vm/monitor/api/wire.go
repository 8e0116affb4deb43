// Package api is what a VM's monitor can be asked over its socket: the messages, and a
// client. The driver asks, package monitor answers.
//
// A monitor outlives gateways, so either side may be older than the other. New fields
// and requests are additions; what an old monitor does not know is asked for in the
// old way (Client.Stream).
package api

import (
	"time"

	"openshell-vm/drivers"
)

// SocketFile is the monitor's socket, in the VM's runtime directory.
const SocketFile = "monitor.sock"

// UnknownRequest is what every monitor has said of a request that it does not
// know. Clients go by it: it never changes.
const UnknownRequest = "this monitor does not know the request; it is older than the gateway"

// Request is what a client asks for: the first frame on a connection to the
// monitor's socket, of kind stream.Control. Exactly one field is set. Attach
// Stream, answered by a Report that says Stream, turns the connection into a
// session with credit. A monitor from before there was credit answers that it does
// not know the request: it is asked for Attach or Exec, which turn the connection into a
// session without. The others are answered with one Report.
type Request struct {
	Status *struct{}      `json:"status,omitempty"`
	Stop   *StopRequest   `json:"stop,omitempty"`
	Signal *SignalRequest `json:"signal,omitempty"`
	Stream *StreamRequest `json:"stream,omitempty"`
	Attach *AttachRequest `json:"attach,omitempty"`
	Exec   *ExecRequest   `json:"exec,omitempty"`
}

// StreamRequest asks for a session. One field is set.
type StreamRequest struct {
	Attach *AttachRequest `json:"attach,omitempty"`
	Exec   *ExecRequest   `json:"exec,omitempty"`
}

// StopRequest asks the workload to end, and kills it after the grace. A
// negative grace powers the VM off at once.
type StopRequest struct {
	Grace time.Duration `json:"grace"`
}

// SignalRequest is for the workload's main process.
type SignalRequest struct {
	Number int `json:"number"`
}

// AttachRequest connects to the workload's streams.
type AttachRequest struct {
	Replay bool `json:"replay"` // output since the start first
	// Hold has the workload wait for a client that does not read, once the log has
	// no more room. Without, the client misses output, and is told so.
	Hold bool `json:"hold,omitempty"`
}

// ExecRequest runs a further command.
type ExecRequest struct {
	Process drivers.Process `json:"process"`
	Stdin   bool            `json:"stdin"`
}

// Report is the monitor's answer.
type Report struct {
	Problem        string         `json:"problem,omitempty"` // why the request was refused
	Stream         bool           `json:"stream,omitempty"`  // a session with credit follows
	State          drivers.State  `json:"state,omitempty"`   // "" while the guest boots
	Reason         string         `json:"reason,omitempty"`  // why it runs and yet does nothing
	Output         string         `json:"output,omitempty"`  // why it can't write any more now
	StartedAt      time.Time      `json:"startedAt,omitzero"`
	SeenGeneration uint64         `json:"seenGeneration,omitempty"`
	Attempt        int            `json:"attempt,omitempty"`
	Kernel         string         `json:"kernel,omitempty"` // the guest's uname -r
	Doing          string         `json:"doing,omitempty"`  // what takes a boot so long
	PIDs           map[string]int `json:"pids,omitempty"`   // host processes by name
	Jail           []drivers.Fact `json:"jail,omitempty"`   // what the host could not give
}

// Ready is the one line that a monitor writes to its report pipe: the workload
// has been started, or why not.
type Ready struct {
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Hung    bool   `json:"hung,omitempty"`    // the boot went past its deadline
	Crashed bool   `json:"crashed,omitempty"` // the hypervisor did, before the guest greeted
	Console string `json:"console,omitempty"` // last lines, when the boot failed
}
