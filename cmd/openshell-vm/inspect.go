package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "show all about sandboxes", ArgsUsage: cmdline.Sandboxes,
		Flags: []cli.Flag{outputFlag("f")}, Action: inspectAction,
	}
}

func inspectAction(c *cli.Context) error {
	return inspect(c, (*api.Client).Get, show.SandboxFacts)
}

// inspect gets what each argument names and prints all of it: as one list in
// JSON, else as blocks of lines.
func inspect[T any](c *cli.Context, get func(*api.Client, context.Context, string) (T, error), facts func(T, time.Time) []api.Fact) error {
	asJSON, format, err := wantFormat(c)
	if err != nil {
		return err
	}
	var list []T
	refs, err := cmdline.Some(c)
	if err != nil {
		return err
	}
	client, err := connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	for _, ref := range refs {
		s, err := get(client, c.Context, ref)
		if err != nil {
			return err
		}
		list = append(list, s)
	}
	switch {
	case asJSON:
		return show.PrintJSON(c.App.Writer, list)
	case format != "":
		return formatAll(c, format, list, itself)
	}
	for i, s := range list {
		if i > 0 {
			fmt.Fprintln(c.App.Writer)
		}
		if err := show.PrintFacts(c.App.Writer, facts(s, time.Now())); err != nil {
			return err
		}
	}
	return nil
}
