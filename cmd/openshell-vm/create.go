package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/images"
	"openshell-vm/cmd/openshell-vm/project"
	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/session"
)

func createCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "create a sandbox without starting it", ArgsUsage: cmdline.NewCommand,
		Flags: slices.Concat(request.Flags(), project.Flags()), Action: createAction,
		Description: `# Made now, started later
openshell-vm create --name box --driver docker --image alpine -- sleep inf
openshell-vm start box`,
	}
}

func createAction(c *cli.Context) error {
	q, err := request.Read(c)
	if err != nil {
		return err
	}
	s, err := session.New(false, false)
	if err != nil {
		return err
	}
	defer s.Close()
	_, sandbox, err := create(c.Context, s, nil, q, images.PullPolicy(c), c.Bool("quiet"))
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, sandbox.ID)
	return nil
}
