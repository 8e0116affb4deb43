package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/gateways"
	"openshell-vm/gateway/api"
)

func startCommand() *cli.Command {
	return &cli.Command{
		Name: "start", Usage: "start stopped sandboxes, each with a fresh token", ArgsUsage: cmdline.Sandboxes,
		Action: startAction,
	}
}

func startAction(c *cli.Context) error {
	return frame.ForEach(c, "starting", func(ctx context.Context, client *api.Client, ref string) error {
		return frame.Done(c, ref, start(ctx, client, ref))
	})
}

func start(ctx context.Context, client *api.Client, ref string) error {
	started, err := client.Start(ctx, ref)
	if err != nil {
		return err
	}
	return couldNotRun(started)
}

func stopCommand() *cli.Command {
	return &cli.Command{
		Name: "stop", Usage: "stop sandboxes", ArgsUsage: cmdline.Sandboxes,
		Flags: []cli.Flag{graceFlag()}, Action: stopAction,
	}
}

func stopAction(c *cli.Context) error {
	grace := time.Duration(*c.Generic("time").(*grace))
	return frame.ForEach(c, "stopping", func(ctx context.Context, client *api.Client, ref string) error {
		_, err := client.Stop(ctx, ref, grace)
		return frame.Done(c, ref, err)
	})
}

func restartCommand() *cli.Command {
	return &cli.Command{
		Name: "restart", Usage: "stop sandboxes and start them again, each with a fresh token", ArgsUsage: cmdline.Sandboxes,
		Flags: []cli.Flag{graceFlag()}, Action: restartAction,
	}
}

func restartAction(c *cli.Context) error {
	grace := time.Duration(*c.Generic("time").(*grace))
	return frame.ForEach(c, "restarting", func(ctx context.Context, client *api.Client, ref string) error {
		_, err := client.Stop(ctx, ref, grace)
		if err == nil {
			err = start(ctx, client, ref)
		}
		return frame.Done(c, ref, err)
	})
}

func rmCommand() *cli.Command {
	return &cli.Command{
		Name: "rm", Usage: "remove sandboxes and their shares", ArgsUsage: cmdline.Sandboxes,
		Flags: []cli.Flag{frame.Bool("also running ones, and no error for those that are gone", "force", "f")}, Action: rmAction,
	}
}

func rmAction(c *cli.Context) error {
	return frame.Remove(c, func(ctx context.Context, client *api.Client, ref string) error {
		return client.Remove(ctx, ref, c.Bool("force"))
	})
}

func waitCommand() *cli.Command {
	return &cli.Command{
		Name: "wait", Usage: "wait until sandboxes have ended and print their exit codes", ArgsUsage: cmdline.Sandboxes,
		Action: waitAction,
	}
}

// waitAction prints the exit codes, and ends with 0: of several it could be only one.
func waitAction(c *cli.Context) error {
	return frame.ForEach(c, "waiting for", func(ctx context.Context, client *api.Client, ref string) error {
		var result api.WaitResult
		err := gateways.Over(ctx, client, func(client *api.Client) (err error) {
			result, err = client.Wait(ctx, ref)
			return err
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.App.Writer, result.ExitCode)
		return err
	})
}

func graceFlag() cli.Flag {
	return &cli.GenericFlag{Name: "time", Aliases: []string{"t", "timeout"},
		Usage: "`SECONDS` until it is killed", Value: newGrace(), DefaultText: "10"}
}

// grace is a flag value: seconds, or a duration with its unit.
type grace time.Duration

// usualGrace is how long a sandbox is waited for that is to end.
const usualGrace = 10 * time.Second

func newGrace() *grace {
	g := grace(usualGrace)
	return &g
}

func (g *grace) Set(text string) error {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		*g = grace(time.Duration(n) * time.Second)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New("not a number of seconds")
	}
	*g = grace(d)
	return nil
}

func (g *grace) String() string { return fmt.Sprint(time.Duration(*g).Seconds()) }
