package frame

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

// List prints what get gives: as JSON, or each one's name alone, or as a table, or by the
// user's template, which gets what row makes.
func List[T any](c *cli.Context, get func(*api.Client) ([]T, error), name func(T) string,
	rows func([]T, time.Time) *show.Table, row func(T, time.Time) any,
) error {
	asJSON, format, err := WantFormat(c)
	if err != nil {
		return err
	}
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	say.Warn(client.Met().Short)
	all, err := get(client)
	switch {
	case err != nil:
		return err
	case asJSON:
		return show.PrintJSON(c.App.Writer, append([]T{}, all...))
	case format != "":
		return FormatAll(c, format, all, row)
	case c.Bool("quiet"):
		for _, one := range all {
			fmt.Fprintln(c.App.Writer, name(one))
		}
		return nil
	}
	width := show.TerminalWidth()
	if c.Bool("no-trunc") {
		width = 0
	}
	return rows(all, time.Now()).Print(c.App.Writer, width)
}

// FormatAll prints all by a template.
func FormatAll[T any](c *cli.Context, format string, all []T, row func(T, time.Time) any) error {
	now, rows := time.Now(), []any{}
	for _, one := range all {
		rows = append(rows, row(one, now))
	}
	if len(rows) == 0 {
		var none T
		if err := show.HasFields(format, row(none, now)); err != nil {
			return err
		}
	}
	return show.Format(c.App.Writer, format, rows)
}

// Itself is the row of what has no form of its own for templates.
func Itself[T any](v T, _ time.Time) any { return v }

// Inspect gets what each argument names and prints all of it: as one list in
// JSON, else as blocks of lines.
func Inspect[T any](c *cli.Context, get func(context.Context, *api.Client, string) (T, error),
	facts func(T, time.Time) []api.Fact,
) error {
	asJSON, format, err := WantFormat(c)
	if err != nil {
		return err
	}
	var list []T
	refs, err := cmdline.Some(c)
	if err != nil {
		return err
	}
	client, err := Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	for _, ref := range refs {
		s, err := get(c.Context, client, ref)
		if err != nil {
			return err
		}
		list = append(list, s)
	}
	switch {
	case asJSON:
		return show.PrintJSON(c.App.Writer, list)
	case format != "":
		return FormatAll(c, format, list, Itself)
	}
	for i, s := range list {
		if i > 0 {
			fmt.Fprintln(c.App.Writer)
		}
		if err := show.PrintFacts(c.App.Writer, facts(s, time.Now())); err != nil {
			return err
		}
	}
	return nil
}
