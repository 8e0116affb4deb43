package api

import "context"

// Setting is one of the gateway's settings.
type Setting struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Origin  string `json:"origin"`            // default, FILE:LINE, "environment: VARIABLE", or flag
	Restart bool   `json:"restart,omitempty"` // a gateway that runs does not change it
}

// Config is the gateway's settings that are in force.
type Config struct {
	File     string    `json:"file,omitempty"` // "" if there is none
	Settings []Setting `json:"settings"`
	Warnings []string  `json:"warnings,omitempty"` // one line each
	Pending  []Setting `json:"pending,omitempty"`  // what a restart would change
	// Problem is why the settings in force are not those of the file: one line. Then they are
	// those that were good last.
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// Reloaded is what a reload has changed.
type Reloaded struct {
	Changed     []Setting `json:"changed"`
	Pending     []Setting `json:"pending,omitempty"`     // what only a restart changes
	Warnings    []string  `json:"warnings,omitempty"`    // one line each
	Republished int       `json:"republished,omitempty"` // shares that have a new token because of it
	Failed      int       `json:"failed,omitempty"`      // the gateway tries them again
	Waiting     int       `json:"waiting,omitempty"`     // they had no turn yet, or hang
}

// ConfigClient is the part of a Client that is about the gateway's settings.
type ConfigClient struct{ client *Client }

// Get returns the settings that are in force.
func (c ConfigClient) Get(ctx context.Context) (Config, error) {
	return short[Config](ctx, c.client, "GET", "/v1/config", nil)
}

// Reload makes the gateway read its settings again. If they are bad, it keeps those that it
// has. If the tokens' issuer has changed, Reload returns once every share holds a new token, or
// has failed to get one.
func (c ConfigClient) Reload(ctx context.Context) (Reloaded, error) {
	return call[Reloaded](ctx, c.client, "POST", "/v1/config/reload", nil)
}
