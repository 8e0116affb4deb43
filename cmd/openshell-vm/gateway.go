package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

func gatewayCommand() *cli.Command {
	return &cli.Command{Name: "gateway", Usage: "the daemon that keeps tokens fresh", Subcommands: []*cli.Command{
		{Name: "status", Usage: "show the gateway's state; exit code 1 if none runs",
			Flags: []cli.Flag{outputFlag()}, Action: gatewayStatusAction},
		{Name: "start", Usage: "start it if none runs", Action: gatewayStartAction},
		{Name: "stop", Usage: "end it; sandboxes go on, their tokens are no longer renewed", Action: gatewayStopAction},
		{Name: "restart", Usage: "end it and start the installed version with this environment; sandboxes go on",
			Action: gatewayRestartAction},
		auditCommand(),
	}}
}

// connect gives a client of the gateway, and starts one if none listens. It tells once if
// that gateway is of another version, or has another environment.
func connect(ctx context.Context, p *say.Progress) (*api.Client, error) {
	p.Step("starting the gateway")
	client, err := api.EnsureStarted(ctx, "")
	p.Done()
	if err == nil {
		tellStale(client.Met())
	}
	return client, err
}

// gatewayStatusAction starts no gateway: the question is whether one runs.
func gatewayStatusAction(c *cli.Context) error {
	asJSON, err := wantJSON(c)
	if err != nil {
		return err
	}
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := api.Connect(c.Context)
	if errors.Is(err, api.ErrNotRunning) {
		say.Report(os.Stderr, err)
		return say.No
	} else if err != nil {
		return err
	}
	tellStale(client.Met())
	if asJSON {
		return show.PrintJSON(c.App.Writer, client.Met())
	}
	return show.PrintStatus(c.App.Writer, client.Met(), time.Now())
}

// tellStale says in what the gateway differs from this program and its environment: it
// goes on as it was started.
func tellStale(s api.Status) {
	lines := s.Stale(version, api.OwnEnvironment())
	if len(lines) == 0 {
		return
	}
	say.Warn([]string{fmt.Sprintf("the gateway goes on as it was started (%s): %s gateway restart takes this over; sandboxes go on",
		strings.Join(lines, "; "), say.Program)})
}

func gatewayStartAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	return show.PrintStatus(c.App.Writer, client.Met(), time.Now())
}

// gatewayRestartAction ends the gateway, if one runs. It starts one of the installed
// version, with this environment.
func gatewayRestartAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	p := say.NewProgress(os.Stderr)
	old, err := api.Connect(c.Context)
	switch {
	case errors.Is(err, api.ErrNotRunning):
	case err != nil:
		return err
	case old.Met().Unit != "":
		return say.Errorf(fmt.Sprintf("systemctl --user restart %s restarts it, with the unit's environment", old.Met().Unit),
			"the gateway is run by the unit %s", old.Met().Unit)
	default:
		p.Step("stopping the gateway")
		err = old.StopGateway(c.Context)
		p.Done()
		if err != nil {
			return err
		}
	}
	return gatewayStartAction(c)
}

func gatewayStopAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := api.Connect(c.Context)
	if errors.Is(err, api.ErrNotRunning) {
		return nil
	} else if err != nil {
		return err
	}
	p := say.NewProgress(os.Stderr)
	p.Step("stopping the gateway")
	defer p.Done()
	return client.StopGateway(c.Context)
}
