// Package identity is the commands token and keys: what sandboxes prove who they are with.
package identity

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

// Tokens is the command token.
func Tokens() *cli.Command {
	return &cli.Command{Name: "token", Usage: "inspect, rotate or verify tokens; none is ever shown", Subcommands: []*cli.Command{
		{Name: "inspect", Usage: "show what is known of a sandbox's or share's tokens, or of one by its file",
			ArgsUsage: cmdline.SandboxFile, Flags: []cli.Flag{frame.Output()}, Action: inspectAction},
		{Name: "rotate", Usage: "publish new tokens now", ArgsUsage: cmdline.OneSandbox,
			Flags: []cli.Flag{frame.Output()}, Action: rotateAction},
		revokeCommand(), verifyCommand(), addCommand(), dropCommand(),
	}}
}

func revokeCommand() *cli.Command {
	return &cli.Command{
		Name: "revoke", Usage: "make all tokens so far invalid, and publish new ones", ArgsUsage: cmdline.OneSandbox,
		Flags: []cli.Flag{frame.Output()}, Action: revokeAction,
		Description: `# The gateway refuses the old ones at once; who has only its keys takes them until they expire
openshell-vm token revoke box`,
	}
}

func revokeAction(c *cli.Context) error {
	return showToken(c, func(ctx context.Context, client *api.Client, ref string) (api.Token, error) {
		return client.Tokens.Revoke(ctx, ref)
	})
}

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check a token from a file or standard input; exit code 1 if it is not valid", ArgsUsage: cmdline.TokenFile,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "leeway", Usage: "clock difference to allow, a `DURATION` such as 5s", DefaultText: "none"},
			&cli.StringFlag{Name: "audience", Usage: "`AUDIENCE` that it has to be for", DefaultText: "the gateway"},
			frame.Output(),
		},
		Action: verifyAction,
		Description: `# Of a file, and of a pipe, with a clock that may be 5 s off
openshell-vm token verify ./sandbox.jwt
openshell-vm exec box cat /etc/openshell/auth/sandbox.jwt | openshell-vm token verify --leeway 5s -

# One for another audience
openshell-vm token verify --audience https://api.example.com ./api.example.com.jwt`,
	}
}

func inspectAction(c *cli.Context) error {
	if c.NArg() == 2 {
		return showFile(c, c.Args().Get(0), c.Args().Get(1))
	}
	return showToken(c, func(ctx context.Context, client *api.Client, ref string) (api.Token, error) {
		return client.Tokens.Get(ctx, ref)
	})
}

// showFile shows one token for another audience.
func showFile(c *cli.Context, ref, file string) error {
	asJSON, err := frame.WantJSON(c)
	if err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	token, err := client.Tokens.Get(c.Context, ref)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(token.Files, func(t api.IssuedToken) bool { return t.File == file })
	switch {
	case i < 0:
		return say.Errorf(say.Program+" token inspect "+ref+" lists all", "%s has no token in a file %q", ref, file)
	case asJSON:
		return show.PrintJSON(c.App.Writer, token.Files[i])
	}
	return show.PrintFacts(c.App.Writer, show.FileFacts(token.Files[i]))
}

// rotateAction returns once the new token is where the sandbox reads it.
func rotateAction(c *cli.Context) error {
	return showToken(c, func(ctx context.Context, client *api.Client, ref string) (api.Token, error) {
		return client.Tokens.Rotate(ctx, ref)
	})
}

func showToken(c *cli.Context, get func(context.Context, *api.Client, string) (api.Token, error)) error {
	asJSON, err := frame.WantJSON(c)
	if err != nil {
		return err
	}
	ref, err := cmdline.One(c)
	if err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	token, err := get(c.Context, client, ref)
	if err != nil {
		return err
	}
	if asJSON {
		return show.PrintJSON(c.App.Writer, token)
	}
	return show.PrintFacts(c.App.Writer, show.TokenFacts(token))
}

// maxToken bounds what is read as a token. The gateway takes far less.
const maxToken = 64 << 10

func verifyAction(c *cli.Context) error {
	asJSON, err := frame.WantJSON(c)
	if err != nil {
		return err
	}
	if c.NArg() > 1 {
		return cmdline.WrongArgs(c)
	}
	raw, err := readToken(c.Args().First(), c.App.Reader)
	if err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	result, err := client.Tokens.Verify(c.Context,
		api.VerifyRequest{Token: raw, Leeway: c.Duration("leeway"), Audience: c.String("audience")})
	if err != nil {
		return err
	}
	if asJSON {
		err = show.PrintJSON(c.App.Writer, result)
	} else {
		err = show.PrintVerdict(c.App.Writer, result, time.Now())
	}
	if err == nil && !result.Valid {
		return say.No
	}
	return err
}

// readToken reads a token from a file, or from stdin for "-" and "". It never takes one
// as an argument: every user can read arguments in /proc.
func readToken(name string, stdin io.Reader) (string, error) {
	if strings.Count(name, ".") == 2 && strings.HasPrefix(name, "eyJ") {
		return "", say.Errorf("give a file's name, or - and the token on standard input; treat this token as known to others",
			"a token on the command line can be read by every user of this host")
	}
	from := stdin
	if name != "" && name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", say.Errorf("give a file that holds a token, or - for standard input", "read the token: %v", err)
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, maxToken))
	if err != nil {
		return "", say.Errorf("give a file that holds a token, or - for standard input", "read the token: %v", err)
	}
	return strings.TrimSpace(string(data)), nil
}
