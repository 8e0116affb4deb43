package main

import (
	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

func psCommand() *cli.Command {
	return &cli.Command{
		Name: "ps", Aliases: []string{"ls", "list"}, Usage: "list sandboxes and how fresh their tokens are",
		Flags: []cli.Flag{
			frame.Bool("also those that do not run", "all", "a"),
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"},
				Usage: "only those with `KEY=VALUE`: " + show.FilterKeys + " (repeatable)"},
			frame.Bool("only ids", "quiet", "q"),
			frame.NoTrunc(),
			frame.Output(),
		},
		Action: psAction,
		Description: `# All, those that do not run, too
openshell-vm ps -a

# Of one driver, as ids; of one state, as JSON
openshell-vm ps -q --filter driver=podman
openshell-vm ps --filter status=exited -o json

# Of one team, by a template as docker has them
openshell-vm ps -a --filter label=team=red --format {{.Name}}:{{.State}}

# Remove what has ended
openshell-vm rm $(openshell-vm ps -q --filter status=exited)`,
	}
}

func psAction(c *cli.Context) error {
	filter, err := show.ReadFilter(c.StringSlice("filter"))
	if err != nil {
		return err
	}
	all := func(client *api.Client) ([]api.Sandbox, error) {
		list, err := client.List(c.Context)
		if !c.Bool("all") && len(filter["status"]) == 0 {
			list = show.Current(list)
		}
		return filter.Choose(list), err
	}
	return frame.List(c, all, func(s api.Sandbox) string { return s.ID }, show.SandboxTable, show.RowOf)
}
