package main

import (
	"os"
	"strconv"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/logs"
	"openshell-vm/cmd/openshell-vm/say"
)

func logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "show the workload's output since its last start", ArgsUsage: cmdline.OneSandbox,
		Flags: []cli.Flag{
			frame.Bool("go on until the sandbox ends", "follow", "f"),
			&cli.StringFlag{Name: "tail", Aliases: []string{"n"}, Usage: "only the last `N` lines", DefaultText: "all"},
		},
		Action: logsAction,
		Description: `# The last lines, and what comes
openshell-vm logs -f --tail 20 box`,
	}
}

func logsAction(c *cli.Context) error {
	ref, err := cmdline.One(c)
	if err != nil {
		return err
	}
	last, err := tailLines(c.String("tail"))
	if err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	return logs.Print(c.Context, client, ref, last, c.Bool("follow"))
}

// tailLines reads --tail's value.
func tailLines(text string) (int, error) {
	if text == "" || text == "all" {
		return logs.All, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, say.Errorf("give a number of lines, or all", "--tail %q is no number", text)
	}
	return n, nil
}
