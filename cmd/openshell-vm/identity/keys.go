package identity

import (
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

// Keys is the command keys.
func Keys() *cli.Command {
	return &cli.Command{Name: "keys", Usage: "the keys that sign tokens", Subcommands: []*cli.Command{
		{Name: "list", Aliases: []string{"ls"}, Usage: "list the keys that sign, those that will, and those that still verify",
			Flags: []cli.Flag{frame.Output()}, Action: keysListAction},
		{Name: "rotate", Usage: "sign with new keys and publish anew every share but stopped sandboxes'; " +
			"an old key verifies until its last token has expired",
			Flags: []cli.Flag{&cli.DurationFlag{Name: "publish-for", DefaultText: "the gateway's choice",
				Usage: "publish the new keys for `DURATION` before they sign, so that those who keep the key set know them; " +
					"0 to sign at once"},
				frame.Output()}, Action: keysRotateAction},
		{Name: "retire", Usage: "make a key that signs no more invalid at once", ArgsUsage: cmdline.OneKey,
			Flags:  []cli.Flag{frame.Bool("also while shares hold tokens that it signed", "force", "f"), frame.Output()},
			Action: keysRetireAction},
	}}
}

func keysListAction(c *cli.Context) error {
	all := func(client *api.Client) ([]api.Key, error) { return client.Keys.List(c.Context) }
	return frame.List(c, all, func(k api.Key) string { return k.ID }, show.KeyTable, frame.Itself)
}

// keysRotateAction returns once every share holds a token of the new key, if that signs at
// once.
func keysRotateAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	q, doing := api.RotateRequest{}, "publishing every share anew"
	if c.IsSet("publish-for") {
		d := c.Duration("publish-for")
		if q.PublishFor = &d; d > 0 {
			doing = "publishing the new keys"
		}
	}
	return changeKeys(c, doing, func(client *api.Client) (api.RotateResult, error) { return client.Keys.Rotate(c.Context, q) })
}

func keysRetireAction(c *cli.Context) error {
	kid, err := cmdline.One(c)
	if err != nil {
		return err
	}
	return changeKeys(c, "retiring the key", func(client *api.Client) (api.RotateResult, error) {
		return client.Keys.Retire(c.Context, kid, c.Bool("force"))
	})
}

func changeKeys(c *cli.Context, doing string, change func(*api.Client) (api.RotateResult, error)) error {
	asJSON, err := frame.WantJSON(c)
	if err != nil {
		return err
	}
	p := say.NewProgress(os.Stderr)
	client, err := frame.Connect(c.Context, p)
	if err != nil {
		return err
	}
	p.Step(doing)
	result, err := change(client)
	p.Done()
	if err != nil {
		return err
	}
	frame.TellUnpublished(result.Failed, result.Waiting)
	if asJSON {
		return show.PrintJSON(c.App.Writer, result)
	}
	if !result.SignsFrom.IsZero() {
		fmt.Fprintf(os.Stderr, "the new keys are published now and sign in %s; every share is published anew then: see %s keys list\n",
			show.Span(time.Until(result.SignsFrom)), say.Program)
	}
	_, err = fmt.Fprintln(c.App.Writer, result.KeyID)
	return err
}
