package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

func versionCommand() *cli.Command {
	return &cli.Command{Name: "version", Usage: "print the versions of the CLI and of the gateway", Action: versionAction}
}

// versionAction asks the gateway only if one runs.
func versionAction(c *cli.Context) error {
	fmt.Fprintf(c.App.Writer, "%s %s (%s, %s/%s)\n", say.Program, version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	ctx, cancel := context.WithTimeout(c.Context, time.Second)
	defer cancel()
	client, err := api.Connect(ctx)
	if err != nil {
		return nil
	}
	if status, err := client.Status(ctx); err == nil {
		fmt.Fprintf(c.App.Writer, "openshell-gateway %s (running, process %d)\n", status.Version, status.PID)
	}
	return nil
}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a shell's completion script", ArgsUsage: cmdline.OneShell,
		Action: func(c *cli.Context) error {
			shell, err := cmdline.One(c)
			if err != nil {
				return err
			}
			script, err := cmdline.Script(shell)
			if err != nil {
				return err
			}
			_, err = c.App.Writer.Write(script)
			return err
		},
	}
}
