package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/gateways"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

func eventsCommand() *cli.Command {
	return &cli.Command{
		Name: "events", Usage: "show what happened to sandboxes and shares: create, start, renewed, failed, ended, …",
		Flags: []cli.Flag{
			frame.Bool("go on with what happens", "follow", "f"),
			&cli.StringFlag{Name: "since", Usage: "only what is younger than `TIME`: 10m, or 2026-01-31T12:00:00Z"},
			&cli.StringSliceFlag{Name: "filter", Usage: "only those with `KEY=VALUE`: event, name, id, type (repeatable)"},
			frame.Output(),
		},
		Action: eventsAction,
		Description: `# Follow all renewals that fail
openshell-vm events -f --filter event=failed

# What happened to one sandbox, as JSON, an event a line
openshell-vm events --filter name=box -o json`,
	}
}

func eventsAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	asJSON, format, err := frame.WantFormat(c)
	if err != nil {
		return err
	}
	wanted, err := eventFilter(c.StringSlice("filter"))
	if err != nil {
		return err
	}
	since, err := moment(c.String("since"), time.Now())
	if err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	lines := json.NewEncoder(c.App.Writer)
	tell := func(e api.Event) error {
		since = e.Time
		switch {
		case !wanted(e):
			return nil
		case asJSON:
			return lines.Encode(e)
		case format != "":
			err := show.Format(c.App.Writer, format, []any{e})
			format = strings.TrimPrefix(format, "table ") // the heading stands above the first only
			return err
		}
		_, err := fmt.Fprintln(c.App.Writer, show.EventLine(e))
		return err
	}
	ask := func(client *api.Client) error { return client.Events(c.Context, since, c.Bool("follow"), tell) }
	if !c.Bool("follow") {
		return ask(client)
	}
	return gateways.Over(c.Context, client, ask) // the next gateway remembers only its own
}

// moment reads a time, or how long ago it was.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, say.Errorf("give how long ago it was, such as 10m, or a time such as 2026-01-31T12:00:00Z", "%q is no time", text)
	}
	return t, nil
}

// eventFilter reads KEY=VALUE each. Of each key one value has to fit.
func eventFilter(texts []string) (func(api.Event) bool, error) {
	of := map[string]func(api.Event) string{
		"event": func(e api.Event) string { return e.Action },
		"name":  func(e api.Event) string { return e.Name },
		"id":    func(e api.Event) string { return e.ID },
		"type":  func(e api.Event) string { return e.Kind },
	}
	wanted := map[string][]string{}
	for _, text := range texts {
		key, value, _ := strings.Cut(text, "=")
		if of[key] == nil || value == "" {
			return nil, say.Errorf("use event=, such as renewed, or name=, id=, type=", "the filter %q is not known", text)
		}
		wanted[key] = append(wanted[key], value)
	}
	return func(e api.Event) bool {
		for key, values := range wanted {
			if !slices.Contains(values, of[key](e)) {
				return false
			}
		}
		return true
	}, nil
}
