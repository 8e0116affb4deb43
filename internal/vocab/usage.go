package vocab

import "time"

// Usage is what a running sandbox uses, as the host counts it. Counters only grow while it
// runs. What nobody counts is nil.
type Usage struct {
	At          time.Time     `json:"at"`
	CPU         time.Duration `json:"cpu"`                   // of all CPUs together, since the start
	Memory      int64         `json:"memory"`                // bytes
	MemoryLimit int64         `json:"memoryLimit,omitempty"` // bytes; 0 if there is none

	Received  *int64 `json:"received,omitempty"`  // bytes from the network
	Sent      *int64 `json:"sent,omitempty"`      // bytes to the network
	Read      *int64 `json:"read,omitempty"`      // bytes from disks
	Written   *int64 `json:"written,omitempty"`   // bytes to disks
	Disk      *int64 `json:"disk,omitempty"`      // bytes that its disk image takes on the host
	Processes *int64 `json:"processes,omitempty"` // inside
}
