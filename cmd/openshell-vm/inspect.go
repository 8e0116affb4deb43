package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "show all about sandboxes", ArgsUsage: cmdline.Sandboxes,
		Flags: []cli.Flag{frame.Output("f")}, Action: inspectAction,
	}
}

func inspectAction(c *cli.Context) error {
	return frame.Inspect(c, func(ctx context.Context, client *api.Client, ref string) (api.Sandbox, error) {
		return client.Get(ctx, ref)
	}, show.SandboxFacts)
}
