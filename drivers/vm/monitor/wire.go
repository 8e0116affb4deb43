package monitor

import (
	"encoding/json"
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/stream"
)

// Request is what a client asks for: the first frame on a connection to the
// monitor's socket, of kind stream.Control. Exactly one field is set. Attach
// and Exec turn the connection into session 0 of frames; the others are
// answered with one Report.
type Request struct {
	Status *struct{}      `json:"status,omitempty"`
	Stop   *StopRequest   `json:"stop,omitempty"`
	Signal *SignalRequest `json:"signal,omitempty"`
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
}

// ExecRequest runs a further command.
type ExecRequest struct {
	Process drivers.Process `json:"process"`
	Stdin   bool            `json:"stdin"`
}

// Report is the monitor's answer.
type Report struct {
	Problem        string         `json:"problem,omitempty"` // why the request was refused
	State          drivers.State  `json:"state,omitempty"`   // "" while the guest boots
	StartedAt      time.Time      `json:"startedAt,omitzero"`
	SeenGeneration uint64         `json:"seenGeneration,omitempty"`
	Attempt        int            `json:"attempt,omitempty"`
	Kernel         string         `json:"kernel,omitempty"` // the guest's uname -r
	PIDs           map[string]int `json:"pids,omitempty"`   // host processes by name
	Jail           []drivers.Fact `json:"jail,omitempty"`   // what the host could not give
}

// Ready is the one line that a monitor writes to its report pipe: the workload
// has been started, or why not.
type Ready struct {
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Hung    bool   `json:"hung,omitempty"`    // the boot went past its deadline
	Console string `json:"console,omitempty"` // last lines, when the boot failed
}

// maxJSON bounds a request or report, in bytes.
const maxJSON = 4 << 20

// sendJSON writes v as frames of kind Control, of which all but the last are
// full, as guest.Send does.
func sendJSON(w *stream.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(data)%stream.MaxPayload == 0 {
		data = append(data, ' ')
	}
	return w.Write(stream.Control, 0, data)
}

// readJSON reads what sendJSON wrote.
func readJSON(r *stream.Reader, v any) error {
	var data []byte
	for {
		f, err := r.Read()
		if err != nil {
			return err
		}
		if f.Kind != stream.Control || len(data) > maxJSON {
			return fmt.Errorf("not a request or report: a frame of kind %d", f.Kind)
		}
		data = append(data, f.Payload...)
		if len(f.Payload) < stream.MaxPayload {
			return json.Unmarshal(data, v)
		}
	}
}
