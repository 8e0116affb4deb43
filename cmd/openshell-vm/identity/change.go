package identity

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

func addCommand() *cli.Command {
	return &cli.Command{
		Name: "add", ArgsUsage: cmdline.SandboxTokens,
		Usage:  "keep fresh tokens for other audiences in a sandbox or a share, each AUDIENCE as for run --token, and print their files",
		Action: addAction,
		Description: `# A sandbox that runs sees the file at once
openshell-vm token add box https://api.example.com,ttl=15m

# For a provider
openshell-vm token add box aws:arn:aws:iam::123456789012:role/deploy`,
	}
}

func dropCommand() *cli.Command {
	return &cli.Command{
		Name: "drop", ArgsUsage: cmdline.SandboxFiles,
		Usage:  "take tokens for other audiences away, each by its file or its audience",
		Action: dropAction,
		Description: `# By its file, and by its audience
openshell-vm token drop box api.example.com.jwt
openshell-vm token drop box https://api.example.com`,
	}
}

// addAction prints where the sandbox finds each file.
func addAction(c *cli.Context) error {
	return changeTokens(c, func(values []string) (q api.TokensRequest, err error) {
		q.Add, err = request.TokenFiles(values)
		return q, err
	}, func(s api.Share) []string {
		var added []string
		for _, f := range s.Tokens.Files[max(0, len(s.Tokens.Files)-c.NArg()+1):] { // the new ones come last
			added = append(added, s.Target+"/"+f.File)
		}
		return added
	})
}

// dropAction prints what it was told to drop.
func dropAction(c *cli.Context) error {
	return changeTokens(c, func(refs []string) (api.TokensRequest, error) {
		return api.TokensRequest{Drop: refs}, nil
	}, func(api.Share) []string { return c.Args().Slice()[1:] })
}

// changeTokens sends what the arguments after the first ask for, and prints lines about it.
func changeTokens(c *cli.Context, asked func([]string) (api.TokensRequest, error), lines func(api.Share) []string) error {
	args := c.Args().Slice()
	if len(args) < 2 || args[0] == "" {
		return cmdline.WrongArgs(c)
	}
	q, err := asked(args[1:])
	if err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	share, err := client.Tokens.Change(c.Context, args[0], q)
	if err != nil {
		return err
	}
	say.Warn(share.Warnings)
	for _, line := range lines(share) {
		if _, err := fmt.Fprintln(c.App.Writer, line); err != nil {
			return err
		}
	}
	return nil
}
