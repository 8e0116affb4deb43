package api

import (
	"time"

	"openshell-vm/internal/vocab"
)

// OnRenew is what is done inside a sandbox each time that it has seen a new generation: a signal
// for its main process, or a command beside it.
type OnRenew = vocab.OnRenew

// OnRenewState is that, and how it went last.
type OnRenewState struct {
	OnRenew
	Generation uint64        `json:"generation,omitempty"` // that it was done for; 0 if it never was since the gateway began
	At         time.Time     `json:"at,omitzero"`
	Took       time.Duration `json:"took,omitempty"`    // ns
	Problem    string        `json:"problem,omitempty"` // one line: why it failed; "" if it did not
}

// SignalNumber returns the number of a signal that a user names: HUP, SIGHUP, 1, RTMIN+3. ok is
// false if there is none.
func SignalNumber(name string) (n int, ok bool) { return vocab.Signal(name) }
