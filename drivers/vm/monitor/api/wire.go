// Package api is the protocol of a VM's monitor on its socket: the messages, and a
// client. The driver asks, package monitor answers.
//
// A monitor outlives gateways, so either side may be older than the other. The protocol
// changes only by new fields and requests. If a monitor does not know a request, the
// client falls back to the old one (Client.Stream).
package api

import (
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/vocab"
)

// SocketFile is the monitor's socket, in the VM's runtime directory.
const SocketFile = "monitor.sock"

// UnknownRequest is the Problem that every monitor reports for a request that it does
// not know. Clients compare it, so it never changes.
const UnknownRequest = "this monitor does not know the request; it is older than the gateway"

// Request is what a client asks for. It is the first frame on a connection to the
// monitor's socket, of kind stream.Control. Exactly one field is set.
//
// A monitor answers Status, Stop and Signal with one Report. It answers Stream with a
// Report whose Stream is true; then the connection is a session with credit. A monitor
// from before there was credit answers Stream with UnknownRequest. A client then asks
// for Attach or Exec on a new connection, which become a session without credit.
type Request struct {
	Status *struct{}      `json:"status,omitempty"`
	Stop   *StopRequest   `json:"stop,omitempty"`
	Signal *SignalRequest `json:"signal,omitempty"`
	Stream *StreamRequest `json:"stream,omitempty"`
	Attach *AttachRequest `json:"attach,omitempty"`
	Exec   *ExecRequest   `json:"exec,omitempty"`
}

// StreamRequest asks for a session. Exactly one field is set.
type StreamRequest struct {
	Attach *AttachRequest `json:"attach,omitempty"`
	Exec   *ExecRequest   `json:"exec,omitempty"`
}

// StopRequest asks the workload to end, and kills it after the grace. A
// negative grace powers the VM off at once.
type StopRequest struct {
	Grace time.Duration `json:"grace"`
}

// SignalRequest sends a signal to the workload's main process.
type SignalRequest struct {
	Number int `json:"number"`
}

// AttachRequest connects to the workload's streams.
type AttachRequest struct {
	Replay bool `json:"replay"` // first the output since the start
	// Hold makes the workload wait for a client that does not read, once the log has
	// no more room. Without it the client misses output, and is told so.
	Hold bool `json:"hold,omitempty"`
	// Why tells the client on its standard error why the workload has ended, if there is a
	// reason. An older monitor tells everybody, as if the workload had said it.
	Why bool `json:"why,omitempty"`
}

// Note is a line of ours among the workload's output.
func Note(text string) string { return "openshell-vm: " + text + "\n" }

// ExecRequest runs a further command, or does what guest.Exec has beside commands.
type ExecRequest struct {
	Process drivers.Process  `json:"process"`
	Stdin   bool             `json:"stdin"`
	Copy    *vocab.CopyTask  `json:"copy,omitempty"`
	Launch  *drivers.Process `json:"launch,omitempty"`
}

// Report is the monitor's answer.
type Report struct {
	Problem        string        `json:"problem,omitempty"` // why the request was refused
	Stream         bool          `json:"stream,omitempty"`  // a session with credit follows
	State          drivers.State `json:"state,omitempty"`   // "" while the guest boots
	Reason         string        `json:"reason,omitempty"`  // why a running VM stands still
	Output         string        `json:"output,omitempty"`  // why the workload's output waits
	Network        string        `json:"network,omitempty"` // why its network is down
	Mirror         string        `json:"mirror,omitempty"`  // why its mirror of the share is not used
	StartedAt      time.Time     `json:"startedAt,omitzero"`
	SeenGeneration uint64        `json:"seenGeneration,omitempty"`
	SeenAt         time.Time     `json:"seenAt,omitzero"` // when the guest told that
	// SeenShares is what SeenGeneration and SeenAt are, of further shares, by guest.ShareName.
	SeenShares map[string]SeenShare `json:"seenShares,omitempty"`
	// Unanswered is since when the guest has answered nothing, though it was asked; zero if it answers.
	Unanswered time.Time `json:"unanswered,omitzero"`

	Attempt   int            `json:"attempt,omitempty"`
	Kernel    string         `json:"kernel,omitempty"`   // the guest's uname -r
	Doing     string         `json:"doing,omitempty"`    // what takes a boot so long
	Received  *int64         `json:"received,omitempty"` // bytes that the guest's card has received since the start
	Sent      *int64         `json:"sent,omitempty"`
	Processes int64          `json:"processes,omitempty"` // in the guest, some seconds ago; 0 if it did not tell
	PIDs      map[string]int `json:"pids,omitempty"`      // host processes by name
	Jail      []drivers.Fact `json:"jail,omitempty"`      // what each jail lacks, the memory limit, and what the network refused
}

// SeenShare is a generation, and when the guest told that it sees it.
type SeenShare struct {
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"`
}

// Ready is the one line that a monitor writes to its report pipe: why the workload did
// not start, or without a Problem that it did.
type Ready struct {
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Hung    bool   `json:"hung,omitempty"`    // the boot went past its deadline
	Crashed bool   `json:"crashed,omitempty"` // the hypervisor crashed before the guest greeted
	Console string `json:"console,omitempty"` // the last lines, when the boot failed
}
