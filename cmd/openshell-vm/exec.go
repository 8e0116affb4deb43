package main

import (
	"context"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/session"
	"openshell-vm/gateway/api"
)

func execCommand() *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "run a further command in a running sandbox", ArgsUsage: cmdline.SandboxCommand,
		Flags: append(request.ProcessFlags(),
			frame.Bool("leave it in the background: print nothing, drop its output", "detach", "d")),
		Action: execAction,
		Description: `# A shell in a running sandbox
openshell-vm exec -it box sh

# In the background
openshell-vm exec -d box sh -c 'make >/tmp/log 2>&1'

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
	q := api.ExecRequest{Stdin: c.Bool("interactive")}
	var err error
	if q.Process, err = request.Process(c, command); err != nil {
		return err
	}
	if c.Bool("detach") {
		return launch(c.Context, ref, q)
	}
	s, err := session.New(q.Stdin, q.Process.Terminal)
	if err != nil {
		return err
	}
	defer s.Close()
	q.Process.Size = s.Size()
	var client *api.Client
	err = s.Interruptible(c.Context, func(ctx context.Context) error {
		client, err = frame.Connect(ctx, s.Progress)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.Live(); err != nil {
		return err
	}
	return s.Exec(c.Context, client, ref, q)
}

// launch is exec -d. As docker's it prints nothing and connects nothing.
func launch(ctx context.Context, ref string, r api.ExecRequest) error {
	client, err := frame.Connect(ctx, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	result, err := client.Launch(ctx, ref, r)
	if err != nil || result.ExitCode == 0 {
		return err
	}
	return &api.Error{Code: codeOfExit(result.ExitCode), Message: result.Reason,
		Hint: "openshell-vm exec " + ref + " ls /bin, or the like, shows what there is"}
}

// codeOfExit is the kind of error that ends the program with an exit code of container
// tools.
func codeOfExit(code int) string {
	if code == 127 {
		return api.CodeNoCommand
	}
	return api.CodeNotExecutable
}
