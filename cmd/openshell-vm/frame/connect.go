// Package frame is what the commands have in common: the way to the gateway, flags that several
// have, a list, all about what is named, one thing done to each that is named.
package frame

import (
	"context"
	"fmt"
	"strings"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// Version is this program's. The command sets it.
var Version = "dev"

// Connect gives a client of the gateway, and starts one if none listens. It tells once if
// that gateway is of another version, or has another environment.
func Connect(ctx context.Context, p *say.Progress) (*api.Client, error) {
	p.Step("starting the gateway")
	client, err := api.EnsureStarted(ctx, "")
	p.Done()
	if err == nil {
		TellStale(client.Met())
	}
	return client, err
}

// TellStale says in what the gateway differs from this program and its environment: it
// goes on as it was started.
func TellStale(s api.Status) {
	lines := s.Stale(Version, api.OwnEnvironment())
	if len(lines) == 0 {
		return
	}
	say.Warn([]string{fmt.Sprintf("the gateway goes on as it was started (%s): %s gateway restart takes this over; sandboxes go on",
		strings.Join(lines, "; "), say.Program)})
}

// TellUnpublished tells of shares that have no new token yet.
func TellUnpublished(failed, waiting int) {
	if failed > 0 {
		say.Warn([]string{say.Plural(failed, "share") + " could not be published anew and will be " +
			"tried again: see " + say.Program + " ps and share ls"})
	}
	if waiting > 0 {
		say.Warn([]string{say.Plural(waiting, "share") + " had no turn yet, or hang; the gateway goes on: " +
			"see " + say.Program + " ps and share ls"})
	}
}
