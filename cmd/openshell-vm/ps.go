package main

import (
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

func psCommand() *cli.Command {
	return &cli.Command{
		Name: "ps", Aliases: []string{"ls", "list"}, Usage: "list sandboxes and how fresh their tokens are",
		Flags: []cli.Flag{
			boolFlag("also those that do not run", "all", "a"),
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"},
				Usage: "only those with `KEY=VALUE`: " + show.FilterKeys + " (repeatable)"},
			boolFlag("only ids", "quiet", "q"),
			noTruncFlag(),
			outputFlag(),
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
	return list(c, all, func(s api.Sandbox) string { return s.ID }, show.SandboxTable, show.RowOf)
}

// list prints what get gives: as JSON, or each one's name alone, or as a table, or by the
// user's template, which gets what row makes.
func list[T any](c *cli.Context, get func(*api.Client) ([]T, error), name func(T) string,
	rows func([]T, time.Time) *show.Table, row func(T, time.Time) any,
) error {
	asJSON, format, err := wantFormat(c)
	if err != nil {
		return err
	}
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	say.Warn(client.Met().Short)
	all, err := get(client)
	switch {
	case err != nil:
		return err
	case asJSON:
		return show.PrintJSON(c.App.Writer, append([]T{}, all...))
	case format != "":
		return formatAll(c, format, all, row)
	case c.Bool("quiet"):
		for _, one := range all {
			fmt.Fprintln(c.App.Writer, name(one))
		}
		return nil
	}
	width := show.TerminalWidth()
	if c.Bool("no-trunc") {
		width = 0
	}
	return rows(all, time.Now()).Print(c.App.Writer, width)
}

// formatAll prints all by a template.
func formatAll[T any](c *cli.Context, format string, all []T, row func(T, time.Time) any) error {
	now, rows := time.Now(), []any{}
	for _, one := range all {
		rows = append(rows, row(one, now))
	}
	return show.Format(c.App.Writer, format, rows)
}

// itself is the row of what has no form of its own for templates.
func itself[T any](v T, _ time.Time) any { return v }
