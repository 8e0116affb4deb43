package main

import (
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

func pruneCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "remove all sandboxes that do not run, and their shares",
		Flags: []cli.Flag{
			frame.Bool("do not ask", "force", "f"),
			&cli.StringSliceFlag{Name: "filter", Usage: "only those with `KEY=VALUE`: " + show.FilterKeys +
				", or until=24h: those that ended that long ago (repeatable)"},
		},
		Action: pruneAction,
	}
}

func pruneAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	filters, until, err := untilFilter(c.StringSlice("filter"))
	if err != nil {
		return err
	}
	filter, err := show.ReadFilter(filters)
	if err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	list, err := client.List(c.Context)
	if err != nil {
		return err
	}
	list = stale(filter.Choose(list), until, time.Now())
	if len(list) == 0 {
		return nil
	}
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Name
	}
	question := "This removes what does not run, with all that it wrote: " + strings.Join(names, ", ")
	if !c.Bool("force") && !frame.Confirmed(os.Stdin, question) {
		return nil
	}
	return frame.RemoveAll(c, list, func(s api.Sandbox) (string, error) {
		return s.Name, client.Remove(c.Context, s.ID, false) // refuses one that was started meanwhile
	})
}

// stale chooses what neither runs nor should run.
func stale(list []api.Sandbox, until time.Duration, now time.Time) (some []api.Sandbox) {
	for _, s := range list {
		ended := s.ExitedAt
		if ended.IsZero() {
			ended = s.CreatedAt
		}
		still := s.State == api.StateCreated || s.State == api.StateExited || s.State == api.StateDead
		if still && s.Desired == api.WantStopped && now.Sub(ended) >= until {
			some = append(some, s)
		}
	}
	return some
}

// untilFilter takes until=DURATION out of the filters.
func untilFilter(filters []string) (others []string, until time.Duration, err error) {
	for _, f := range filters {
		value, is := strings.CutPrefix(f, "until=")
		if !is {
			others = append(others, f)
			continue
		}
		if until, err = time.ParseDuration(value); err != nil || until < 0 {
			return nil, 0, say.Errorf("give a time such as until=24h", "the filter %q is no time", f)
		}
	}
	return others, until, nil
}
