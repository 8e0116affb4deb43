package identity

import (
	"fmt"
	"os"

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
		{Name: "list", Aliases: []string{"ls"}, Usage: "list the key that signs and those that still verify",
			Flags: []cli.Flag{frame.Output()}, Action: keysListAction},
		{Name: "rotate", Usage: "sign with a new key and publish anew every share but stopped sandboxes'; " +
			"the old key verifies until its last token has expired",
			Flags: []cli.Flag{frame.Output()}, Action: keysRotateAction},
		{Name: "retire", Usage: "make a key that signs no more invalid at once", ArgsUsage: cmdline.OneKey,
			Flags:  []cli.Flag{frame.Bool("also while shares hold tokens that it signed", "force", "f"), frame.Output()},
			Action: keysRetireAction},
	}}
}

func keysListAction(c *cli.Context) error {
	all := func(client *api.Client) ([]api.Key, error) { return client.Keys.List(c.Context) }
	return frame.List(c, all, func(k api.Key) string { return k.ID }, show.KeyTable, frame.Itself)
}

// keysRotateAction returns once every share holds a token of the new key.
func keysRotateAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	return changeKeys(c, "publishing every share anew", func(client *api.Client) (api.RotateResult, error) {
		return client.Keys.Rotate(c.Context)
	})
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
	if result.Failed > 0 {
		say.Warn([]string{say.Plural(result.Failed, "share") + " could not be published anew and will be " +
			"tried again: see " + say.Program + " ps and share ls"})
	}
	if result.Waiting > 0 {
		say.Warn([]string{say.Plural(result.Waiting, "share") + " had no turn yet, or hang; the gateway goes on: " +
			"see " + say.Program + " ps and share ls"})
	}
	if asJSON {
		return show.PrintJSON(c.App.Writer, result)
	}
	_, err = fmt.Fprintln(c.App.Writer, result.KeyID)
	return err
}
