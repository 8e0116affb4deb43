package main

import (
	"context"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/copying"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/session"
)

func cpCommand() *cli.Command {
	return &cli.Command{
		Name: "cp", Usage: "copy files between a sandbox (SANDBOX:PATH) and this host; - is a tar archive on standard input or output",
		ArgsUsage: cmdline.SourceTarget,
		Flags: []cli.Flag{
			frame.Bool("keep owners (but for Podman's files on their way out), setuid bits and file capabilities; else all "+
				"belongs to root inside, and to you here", "archive", "a"),
			frame.Bool("copy what the source links to", "follow-link", "L"),
			frame.Bool("no word but errors", "quiet", "q"),
		},
		Action: cpAction,
		Description: `# A file, a directory, a directory's content
openshell-vm cp box:/etc/hostname .
openshell-vm cp ./project box:/root
openshell-vm cp box:/root/project/. ./result

# As an archive
tar -c . | openshell-vm cp - box:/tmp
openshell-vm cp box:/var/log - > log.tar`,
	}
}

func cpAction(c *cli.Context) error {
	if c.NArg() != 2 {
		return cmdline.WrongArgs(c)
	}
	from, to := copying.Parse(c.Args().Get(0)), copying.Parse(c.Args().Get(1))
	if err := copying.Check(from, to); err != nil {
		return err
	}
	s, err := session.New(false, false)
	if err != nil {
		return err
	}
	defer s.Close()
	copy := copying.Copy{
		Archive: c.Bool("archive"), FollowLink: c.Bool("follow-link"),
		Quiet:    c.Bool("quiet") || !term.IsTerminal(int(os.Stderr.Fd())),
		Progress: say.NewProgress(os.Stderr), Stdin: os.Stdin, Stdout: os.Stdout,
	}
	return s.Interruptible(c.Context, func(ctx context.Context) error {
		client, err := frame.Connect(ctx, copy.Progress)
		if err != nil {
			return err
		}
		return copy.Run(ctx, client, from, to)
	})
}
