package frame

import (
	"context"
	"os"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

// Create has the gateway make something, or change it, and prints it: as JSON, else as done does.
// read reads and judges the arguments, before the gateway is asked or started. warnings are what
// is to be told of what was made.
func Create[T any](c *cli.Context, read func() (do func(context.Context, *api.Client) (T, error), err error),
	warnings func(*api.Client, T) []string, done func(T) error,
) error {
	asJSON, err := WantJSON(c)
	if err != nil {
		return err
	}
	do, err := read()
	if err != nil {
		return err
	}
	client, err := Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	made, err := do(c.Context, client)
	if err != nil {
		return err
	}
	say.Warn(warnings(client, made))
	if asJSON {
		return show.PrintJSON(c.App.Writer, made)
	}
	return done(made)
}
