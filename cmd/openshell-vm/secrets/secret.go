// Package secrets is the command secret.
package secrets

import (
	"context"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

// Command is secret.
func Command() *cli.Command {
	const usage = "secrets that the gateway keeps encrypted, for files beside the token"
	return &cli.Command{Name: "secret", Usage: usage, Subcommands: []*cli.Command{
		{Name: "create", Usage: "make a secret of a file, of standard input or of what is typed, which is not shown",
			ArgsUsage: cmdline.NewContent, Flags: []cli.Flag{frame.Output()}, Action: change(api.SecretClient.Create),
			Description: `# For openshell-vm run --secret github
gh auth token | openshell-vm secret create github

# Typed, and shown nowhere
openshell-vm secret create db-password`},
		{Name: "set", Usage: "replace what is in a secret, in all sandboxes and shares that show it", ArgsUsage: cmdline.SecretContent,
			Flags: []cli.Flag{frame.Output()}, Action: change(api.SecretClient.Set),
			Description: `# All that show it have the new one when this returns
gh auth token | openshell-vm secret set github`},
		{Name: "ls", Aliases: []string{"list"}, Usage: "list the secrets and who uses them; never what is in them",
			Flags: []cli.Flag{frame.Bool("only names", "quiet", "q"), frame.NoTrunc(), frame.Output()}, Action: listAction,
			Description: `# Names only
openshell-vm secret ls -q`},
		{Name: "inspect", Usage: "show what is known of secrets; never what is in them", ArgsUsage: cmdline.Secrets,
			Flags: []cli.Flag{frame.Output("f")}, Action: inspectAction},
		{Name: "rm", Aliases: []string{"remove"}, Usage: "remove secrets; not those that a sandbox or a share uses",
			ArgsUsage: cmdline.Secrets, Action: rmAction,
			Flags: []cli.Flag{frame.Bool("those in use too: they are taken out of all shares", "force", "f")}},
	}}
}

// change makes the action of create or set. The content is never an argument: those are for all to
// see.
func change(do func(api.SecretClient, context.Context, string, []byte) (api.Secret, error)) cli.ActionFunc {
	return func(c *cli.Context) error {
		arguments := func() (func(context.Context, *api.Client) (api.Secret, error), error) {
			name, path, err := cmdline.OneOrTwo(c)
			if err != nil {
				return nil, err
			}
			content, err := read(c.Context, path)
			return func(ctx context.Context, client *api.Client) (api.Secret, error) {
				return do(client.Secrets, ctx, name, content)
			}, err
		}
		return frame.Create(c, arguments, func(_ *api.Client, s api.Secret) []string { return s.Warnings },
			func(s api.Secret) error { return frame.Done(c, s.Name, nil) })
	}
}

func listAction(c *cli.Context) error {
	all := func(client *api.Client) ([]api.Secret, error) { return client.Secrets.List(c.Context) }
	return frame.List(c, all, func(s api.Secret) string { return s.Name }, show.SecretTable, frame.Itself)
}

func inspectAction(c *cli.Context) error {
	return frame.Inspect(c, func(ctx context.Context, client *api.Client, name string) (api.Secret, error) {
		return client.Secrets.Get(ctx, name)
	}, show.SecretFacts)
}

func rmAction(c *cli.Context) error {
	return frame.Remove(c, func(ctx context.Context, client *api.Client, name string) error {
		return client.Secrets.Remove(ctx, name, c.Bool("force"))
	})
}
