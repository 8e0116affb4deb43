package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/session"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/cmd/openshell-vm/usage"
	"openshell-vm/gateway/api"
)

func statsCommand() *cli.Command {
	return &cli.Command{
		Name: "stats", Usage: "show what running sandboxes use: CPU, memory, network, disks", ArgsUsage: cmdline.AnySandboxes,
		Flags:  []cli.Flag{frame.Bool("once, and not again each second", "no-stream"), frame.NoTrunc(), frame.Output()},
		Action: statsAction,
		Description: `# All that run, until ctrl-c; one, once
openshell-vm stats
openshell-vm stats --no-stream box`,
	}
}

// statsEvery is how often what is used is asked for and shown.
const statsEvery = time.Second

func statsAction(c *cli.Context) error {
	asJSON, err := frame.WantJSON(c)
	if err != nil {
		return err
	}
	s, err := session.New(false, false)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Interruptible(c.Context, func(ctx context.Context) error {
		client, err := frame.Connect(ctx, say.NewProgress(os.Stderr))
		if err != nil {
			return err
		}
		watch := usage.NewWatch(client, statsEvery)
		defer watch.Close()
		return showStats(ctx, c, client, watch, asJSON)
	})
}

// showStats shows a table each second, or one. A sandbox that is not given by name is shown
// while it runs.
func showStats(ctx context.Context, c *cli.Context, client *api.Client, watch *usage.Watch, asJSON bool) error {
	once := c.Bool("no-stream")
	for round := time.NewTicker(statsEvery); ; {
		boxes, err := chosen(ctx, client, c.Args().Slice())
		if err != nil {
			return err
		}
		watch.Follow(boxes)
		if err := watch.Settle(ctx); err != nil { // the first time: until there is something to show
			return err
		}
		if err := printStats(c, watch.Rows(), asJSON, once); err != nil || once {
			return err
		}
		select {
		case <-round.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// chosen are the sandboxes that were given, or all that run.
func chosen(ctx context.Context, client *api.Client, refs []string) (boxes []api.Sandbox, err error) {
	for _, ref := range refs {
		box, err := client.Get(ctx, ref)
		if err != nil {
			return nil, err
		}
		boxes = append(boxes, box)
	}
	if len(refs) > 0 {
		return boxes, nil
	}
	all, err := client.List(ctx)
	for _, box := range all {
		if box.State == api.StateRunning {
			boxes = append(boxes, box)
		}
	}
	return boxes, err
}

func printStats(c *cli.Context, rows []usage.Row, asJSON, once bool) error {
	if asJSON {
		return show.PrintJSON(c.App.Writer, rows)
	}
	width := show.TerminalWidth()
	if c.Bool("no-trunc") {
		width = 0
	}
	if !once && term.IsTerminal(int(os.Stdout.Fd())) {
		fmt.Fprint(c.App.Writer, "\x1b[H\x1b[J") // to the top, and nothing below
	}
	return usage.Table(rows).Print(c.App.Writer, width)
}
