package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

func portCommand() *cli.Command {
	return &cli.Command{
		Name: "port", Usage: "show which ports of this host lead into a sandbox that runs", ArgsUsage: cmdline.SandboxPort,
		Action: portAction,
		Description: `# All, and where one is
openshell-vm port box
openshell-vm port box 80/tcp`,
	}
}

func portAction(c *cli.Context) error {
	if n := c.NArg(); n < 1 || n > 2 {
		return cmdline.WrongArgs(c)
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	box, err := client.Get(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	if box.State != api.StateRunning {
		box.Ports = nil
	}
	if c.NArg() == 1 {
		for _, p := range box.Ports {
			fmt.Fprintf(c.App.Writer, "%s -> %s\n", p.Inside(), p.Address())
		}
		return nil
	}
	return onePort(c, box, c.Args().Get(1))
}

// onePort prints where on this host a port of the sandbox's is. As with docker, it is TCP
// unless the protocol is given.
func onePort(c *cli.Context, box api.Sandbox, wanted string) error {
	if !strings.Contains(wanted, "/") {
		wanted += "/tcp"
	}
	found := false
	for _, p := range box.Ports {
		if p.Inside() == wanted {
			fmt.Fprintln(c.App.Writer, p.Address())
			found = true
		}
	}
	if !found {
		return say.Errorf("openshell-vm port "+box.Name+" shows all; ports are published by run and create: --publish",
			"no public port '%s' published for %s", wanted, box.Name)
	}
	return nil
}
