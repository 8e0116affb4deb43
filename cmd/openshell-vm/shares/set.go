package shares

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

func setCommand() *cli.Command {
	return &cli.Command{
		Name: "set", ArgsUsage: cmdline.Shares,
		Usage: "change which files of shares, sandboxes' too, are kept fresh from elsewhere; print the generations",
		Flags: append(request.SourceFlags(),
			&cli.StringSliceFlag{Name: "unset", Usage: "take the file `NAME` away (repeatable)"}),
		Action: setAction,
		Description: `# A file that is followed, and a token that a program of the host makes
openshell-vm share set agent --file ca.pem=/etc/ssl/company.pem
openshell-vm share set agent --exec 'gh-token=gh auth token,every=30m'
openshell-vm share set agent --unset gh-token

# A secret of secret create
openshell-vm share set agent --secret github,name=gh-token,mode=0400

# A GitHub App's token and git's credentials, in github/; an access token, in google/token
openshell-vm share set agent --github-app 12345,installation=678,key=/etc/openshell/app.pem,repos=acme/web
openshell-vm share set agent --oauth google=/home/me/.config/gcloud/application_default_credentials.json`,
	}
}

// setAction publishes all changes of a share in one generation.
func setAction(c *cli.Context) error {
	refs, err := cmdline.Some(c)
	if err != nil {
		return err
	}
	q := api.SourcesRequest{Drop: c.StringSlice("unset")}
	if q.Set, err = request.Sources(c); err != nil {
		return err
	}
	if len(q.Set)+len(q.Drop) == 0 {
		return say.Errorf(say.Program+" share set --help explains it",
			"share set needs a --file, an --exec, a --secret, a --github-app, an --oauth or an --unset")
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	for _, ref := range refs {
		share, err := client.Shares.SetSources(c.Context, ref, q)
		if err != nil {
			return err
		}
		say.Warn(share.Warnings)
		if _, err := fmt.Fprintln(c.App.Writer, share.Token.Generation); err != nil {
			return err
		}
	}
	return nil
}
