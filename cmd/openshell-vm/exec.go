package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/session"
	"openshell-vm/gateway/api"
)

func execCommand() *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "run a further command in a running sandbox", ArgsUsage: cmdline.SandboxCommand,
		Flags: processFlags(), Action: execAction,
		Description: `# A shell in a running sandbox
openshell-vm exec -it box sh

# Files in and out
tar -c . | openshell-vm exec -i -w /tmp box tar -x
openshell-vm exec box tar -c /root > root.tar

# As another user, with a variable
openshell-vm exec -u 1000 -e LEVEL=debug box id`,
	}
}

func execAction(c *cli.Context) error {
	if c.NArg() < 2 {
		return cmdline.WrongArgs(c)
	}
	ref, command := c.Args().First(), c.Args().Tail()
	if command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 || strings.HasPrefix(command[0], "-") {
		return say.Errorf("flags stand before the sandbox: openshell-vm exec -it "+ref+" COMMAND", "no command after %q", ref)
	}
	request := api.ExecRequest{Stdin: c.Bool("interactive")}
	var err error
	if request.Process, err = process(c, command); err != nil {
		return err
	}
	s, err := session.New(request.Stdin, request.Process.Terminal)
	if err != nil {
		return err
	}
	defer s.Close()
	request.Process.Size = s.Size()
	var client *api.Client
	err = s.Interruptible(c.Context, func(ctx context.Context) error {
		client, err = connect(ctx, s.Progress)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.Live(); err != nil {
		return err
	}
	return s.Exec(c.Context, client, ref, request)
}
