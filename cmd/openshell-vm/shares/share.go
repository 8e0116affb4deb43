// Package shares is the command share.
package shares

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

// Command is share.
func Command() *cli.Command {
	return &cli.Command{Name: "share", Usage: "shares for containers of your own, which you start yourself", Subcommands: []*cli.Command{
		createCommand(),
		listCommand(),
		{Name: "inspect", Usage: "show all about shares, a sandbox's too", ArgsUsage: cmdline.Shares,
			Flags: []cli.Flag{frame.Output()}, Action: inspectAction},
		putCommand(),
		setCommand(),
		waitCommand(),
		{Name: "rm", Usage: "remove shares; their tokens are refused from then on", ArgsUsage: cmdline.Shares,
			Flags:  []cli.Flag{frame.Bool("also those that something has mounted, and no error for those that are gone", "force", "f")},
			Action: rmAction},
	}}
}

func createCommand() *cli.Command {
	return &cli.Command{
		Name: "create", ArgsUsage: cmdline.NewName,
		Usage: "make a share, or take the one that exists, and print the arguments for docker run or podman run",
		Flags: append(slices.Concat(request.TokenFlags(), request.SourceFlags()),
			frame.TTL(),
			frame.Bool("take one that exists as it is, whatever --ttl and --token say", "ignore"),
			frame.Bool("only the directory to mount", "quiet", "q"),
			frame.Output(),
		),
		Action: createAction,
		Description: `# A container with its token, and none without
args=$(openshell-vm share create agent) && docker run $args alpine cat /etc/openshell/auth/metadata.json

# With a token for AWS beside it, and what AWS' SDKs read
openshell-vm share create deploy --token aws:arn:aws:iam::123456789012:role/deploy

# Only the directory, for a unit or a Compose file
openshell-vm share create -q agent --ttl 30m`,
	}
}

func listCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Aliases: []string{"list"}, Usage: "list the shares and how fresh their tokens are",
		Flags: []cli.Flag{frame.Bool("only names", "quiet", "q"), frame.NoTrunc(), frame.Output()}, Action: listAction,
		Description: `# Names only
openshell-vm share ls -q`,
	}
}

// createAction prints one line, so that a shell can put it in place:
// args=$(openshell-vm share create NAME) && docker run $args IMAGE.
func createAction(c *cli.Context) error {
	arguments := func() (func(context.Context, *api.Client) (api.Share, error), error) {
		asked, err := createRequest(c)
		return func(ctx context.Context, client *api.Client) (api.Share, error) {
			return client.Shares.Create(ctx, asked)
		}, err
	}
	warnings := func(client *api.Client, s api.Share) []string {
		return slices.Concat(s.Warnings, client.Met().Advice, client.Met().Short)
	}
	return frame.Create(c, arguments, warnings, func(s api.Share) error {
		if c.Bool("quiet") {
			return frame.Done(c, s.Dir, nil)
		}
		return frame.Done(c, strings.Join(show.RunArgs(s), " "), nil)
	})
}

// createRequest reads the arguments.
func createRequest(c *cli.Context) (asked api.ShareRequest, err error) {
	asked.Ignore = c.Bool("ignore")
	if asked.Name, err = cmdline.One(c); err != nil {
		return asked, err
	}
	if asked.TTL, err = frame.Lifetime(c); err != nil {
		return asked, err
	}
	if asked.Tokens, err = request.Tokens(c); err != nil {
		return asked, err
	}
	asked.Sources, err = request.Sources(c)
	return asked, err
}

// FailedArg is an option that no engine has.
const FailedArg = "--openshell-vm-share-create-failed"

// FailClosed prints FailedArg in place of the arguments when share create fails. With
// nothing there, `docker run $(openshell-vm share create NAME) IMAGE` would run the
// container without a token, and nobody would notice. It would, too, if this program
// were missing or killed: README's form therefore asks for the exit code. Nothing is
// printed for a person, and for a script that asked for the directory or for JSON.
func FailClosed(out *os.File, args []string, err error) {
	if err == nil || len(args) < 3 || args[1] != "share" || args[2] != "create" || term.IsTerminal(int(out.Fd())) {
		return
	}
	for _, arg := range args[3:] {
		if arg == "-q" || arg == "--quiet" || strings.HasSuffix(arg, "json") {
			return
		}
	}
	fmt.Fprintln(out, FailedArg)
}

func listAction(c *cli.Context) error {
	all := func(client *api.Client) ([]api.Share, error) { return client.Shares.List(c.Context) }
	return frame.List(c, all, func(s api.Share) string { return s.Name }, show.ShareTable, frame.Itself)
}

func inspectAction(c *cli.Context) error {
	return frame.Inspect(c, func(ctx context.Context, client *api.Client, ref string) (api.Share, error) {
		return client.Shares.Get(ctx, ref)
	}, show.ShareFacts)
}

func rmAction(c *cli.Context) error {
	return frame.Remove(c, func(ctx context.Context, client *api.Client, ref string) error {
		return client.Shares.Remove(ctx, ref, c.Bool("force"))
	})
}
