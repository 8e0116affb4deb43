// Package daemon is the commands about the gateway itself: gateway and doctor.
package daemon

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

// Command is gateway.
func Command() *cli.Command {
	return &cli.Command{Name: "gateway", Usage: "the daemon that keeps tokens fresh", Subcommands: []*cli.Command{
		{Name: "status", Usage: "show the gateway's state; exit code 1 if none runs",
			Flags: []cli.Flag{frame.Output()}, Action: statusAction},
		{Name: "start", Usage: "start it if none runs", Action: startAction},
		{Name: "stop", Usage: "end it; sandboxes go on, their tokens are no longer renewed", Action: stopAction},
		{Name: "restart", Usage: "end it and start the installed version with this environment; sandboxes go on",
			Action: restartAction},
		reloadCommand(),
		configCommand(),
		auditCommand(),
	}}
}

// statusAction starts no gateway: the question is whether one runs.
func statusAction(c *cli.Context) error {
	asJSON, err := frame.WantJSON(c)
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
	frame.TellStale(client.Met())
	if asJSON {
		return show.PrintJSON(c.App.Writer, client.Met())
	}
	return show.PrintStatus(c.App.Writer, client.Met(), time.Now())
}

func startAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	return show.PrintStatus(c.App.Writer, client.Met(), time.Now())
}

// restartAction ends the gateway, if one runs. It starts one of the installed
// version, with this environment.
func restartAction(c *cli.Context) error {
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
	return startAction(c)
}

func stopAction(c *cli.Context) error {
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
