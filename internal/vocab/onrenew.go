package vocab

// OnRenew is what is done inside a sandbox each time that it has seen a new generation. At most
// one of the two is set.
type OnRenew struct {
	// Signal is sent to the main process: a name or a number, see Signal.
	Signal string `json:"signal,omitempty"`
	// Command is run beside the workload, as its user.
	Command []string `json:"command,omitempty"`
}

// IsZero reports whether nothing is done.
func (o OnRenew) IsZero() bool { return o.Signal == "" && len(o.Command) == 0 }
