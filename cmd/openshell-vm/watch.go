package main

import (
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/watching"
)

func watchCommand() *cli.Command {
	return &cli.Command{
		Name: "watch", ArgsUsage: cmdline.DirCommand,
		Usage: "run a program, on the host or in a sandbox, and restart it at each new generation of a share; exits as it does",
		Flags: []cli.Flag{&cli.StringFlag{Name: "signal", Aliases: []string{"s"},
			Usage: "send it `SIGNAL`, a name or a number, in place of ending it (TERM, after 10s KILL) and starting it again"}},
		Action: watchAction,
		Description: `# In a sandbox that has this program: a server that reads its certificate again on HUP
openshell-vm watch --signal HUP /etc/openshell/auth nginx -g 'daemon off;'`,
	}
}

// watchAction needs no gateway.
func watchAction(c *cli.Context) error {
	if c.NArg() < 2 {
		return cmdline.WrongArgs(c)
	}
	dir, command := c.Args().First(), c.Args().Tail()
	if command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 || strings.HasPrefix(command[0], "-") {
		return say.Errorf("flags stand before the directory: openshell-vm watch --signal HUP "+dir+" COMMAND", "no command after %q", dir)
	}
	p := watching.Program{Args: command, Stderr: os.Stderr}
	if name := c.String("signal"); name != "" {
		var err error
		if p.Signal, err = signalNumber(name); err != nil {
			return err
		}
	}
	code, err := watching.Run(c.Context, dir, p)
	if err != nil || code == 0 {
		return err
	}
	return say.Exit(code)
}
