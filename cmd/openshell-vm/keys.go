package main

import (
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/gateway/api"
)

func keysListAction(c *cli.Context) error {
	all := func(client *api.Client) ([]api.Key, error) { return client.Keys(c.Context) }
	return list(c, all, func(k api.Key) string { return k.ID }, keyTable)
}

func keyTable(keys []api.Key, now time.Time) *table {
	t := newTable("KEY", "USE", "AGE", "SHARES")
	for _, k := range keys {
		use := "signs"
		if !k.Signs {
			use = "verifies for " + span(k.RetireAt.Sub(now))
		}
		t.add(k.ID, use, span(now.Sub(k.CreatedAt)), fmt.Sprint(k.Shares))
	}
	return t
}

// keysRotateAction returns once every share holds a token of the new key.
func keysRotateAction(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	return changeKeys(c, "publishing every share anew", func(client *api.Client) (api.RotateResult, error) {
		return client.RotateKeys(c.Context)
	})
}

func keysRetireAction(c *cli.Context) error {
	kid, err := oneArg(c)
	if err != nil {
		return err
	}
	return changeKeys(c, "retiring the key", func(client *api.Client) (api.RotateResult, error) {
		return client.RetireKey(c.Context, kid, c.Bool("force"))
	})
}

func changeKeys(c *cli.Context, doing string, change func(*api.Client) (api.RotateResult, error)) error {
	asJSON, err := wantJSON(c)
	if err != nil {
		return err
	}
	p := newProgress(os.Stderr)
	client, err := connect(c.Context, p)
	if err != nil {
		return err
	}
	p.step(doing)
	result, err := change(client)
	p.done()
	if err != nil {
		return err
	}
	if result.Failed > 0 {
		warn([]string{plural(result.Failed, "share") + " could not be published anew and will be " +
			"tried again: see " + appName + " ps and share ls"})
	}
	if result.Waiting > 0 {
		warn([]string{plural(result.Waiting, "share") + " had no turn yet, or hang; the gateway goes on: see " + appName + " ps and share ls"})
	}
	if asJSON {
		return printJSON(c.App.Writer, result)
	}
	_, err = fmt.Fprintln(c.App.Writer, result.KeyID)
	return err
}
