package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/session"
	"openshell-vm/gateway/api"
)

func attachCommand() *cli.Command {
	return &cli.Command{
		Name: "attach", Usage: "connect to a running sandbox's standard streams", ArgsUsage: cmdline.OneSandbox,
		Flags: []cli.Flag{frame.Bool("do not connect standard input", "no-stdin")}, Action: attachAction,
	}
}

func attachAction(c *cli.Context) error {
	ref, err := cmdline.One(c)
	if err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	sandbox, err := client.Get(c.Context, ref)
	if err != nil {
		return err
	}
	if sandbox.State != api.StateRunning && sandbox.State != api.StateStarting {
		return doesNotRun(sandbox, "openshell-vm start "+sandbox.Name+" starts it, openshell-vm logs "+sandbox.Name+" shows its output")
	}
	s, err := session.New(!c.Bool("no-stdin"), sandbox.Process.Terminal)
	if err != nil {
		return err
	}
	defer s.Close()
	attached := s.Attach(c.Context, client, sandbox.ID)
	if err := s.Live(); err != nil {
		return err
	}
	return s.Farewell(s.Follow(c.Context, client, attached, sandbox), sandbox.Name)
}
