package api

import "context"

// LaunchResult is how a launch went.
type LaunchResult struct {
	// ExitCode is 126 or 127 if the command can't be run, as with container tools; Reason
	// says why. It is 0 if the command was started.
	ExitCode int    `json:"exitCode"`
	Reason   string `json:"reason,omitempty"`
}

// Launch starts a command in a running sandbox and leaves it alone: it goes on there, and its
// output is dropped.
func (c *Client) Launch(ctx context.Context, ref string, r ExecRequest) (LaunchResult, error) {
	return call[LaunchResult](ctx, c, "POST", sandboxPath(ref, "launch"), r)
}
