package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"openshell-vm/gateway/api"
)

func psAction(c *cli.Context) error {
	all := func(client *api.Client) ([]api.Sandbox, error) {
		list, err := client.List(c.Context)
		if !c.Bool("all") {
			list = current(list)
		}
		return list, err
	}
	return list(c, all, func(s api.Sandbox) string { return s.ID }, printSandboxes)
}

// list prints what get gives: as JSON, or each one's name alone, or as a table.
func list[T any](c *cli.Context, get func(*api.Client) ([]T, error), name func(T) string, table func(io.Writer, []T, time.Time) error) error {
	asJSON, err := wantJSON(c)
	if err != nil {
		return err
	}
	if err := noArgs(c); err != nil {
		return err
	}
	client, err := connect(c.Context, newProgress(os.Stderr))
	if err != nil {
		return err
	}
	all, err := get(client)
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(c.App.Writer, withoutNil(all))
	case c.Bool("quiet"):
		for _, one := range all {
			fmt.Fprintln(c.App.Writer, name(one))
		}
		return nil
	}
	return table(c.App.Writer, all, time.Now())
}

// current leaves out what was stopped or ended as it should; what should run
// and does not stays.
func current(list []api.Sandbox) []api.Sandbox {
	var some []api.Sandbox
	for _, s := range list {
		switch s.State {
		case "running", "starting", "stopping":
			some = append(some, s)
		case "dead":
			if s.Desired == "running" {
				some = append(some, s)
			}
		}
	}
	return some
}

func printSandboxes(w io.Writer, list []api.Sandbox, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tID\tDRIVER\tSTATE\tTOKEN")
	for _, s := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Name, s.ID, driver(s), state(s, now), freshness(s, now))
	}
	return t.Flush()
}

func driver(s api.Sandbox) string {
	if s.Hypervisor != "" {
		return s.Driver + "/" + s.Hypervisor
	}
	return s.Driver
}

// state is the sandbox's state, with what there is to say about it.
func state(s api.Sandbox, now time.Time) string {
	switch {
	case s.State == "running" && !s.StartedAt.IsZero():
		return "running " + span(now.Sub(s.StartedAt))
	case s.State == "exited" && s.ExitCode != nil:
		text := fmt.Sprintf("exited (%d) %s ago", *s.ExitCode, span(now.Sub(s.ExitedAt)))
		if s.Reason != "" {
			text += ": " + shorten(s.Reason)
		}
		return text
	case s.Reason != "":
		return s.State + ": " + shorten(s.Reason)
	}
	return s.State
}

// freshness says how long the token is good for, and whether renewing it
// fails. An expired token is loud only where something could be using it.
func freshness(s api.Sandbox, now time.Time) string {
	var text string
	left := s.Token.ExpiresAt.Sub(now)
	switch {
	case s.Token.ExpiresAt.IsZero():
		text = "none yet"
	case left > 0:
		text = "expires in " + span(left)
	case s.State == "running":
		text = "EXPIRED " + span(-left) + " ago"
	default:
		text = "expired " + span(-left) + " ago"
	}
	if s.Token.Failures > 0 {
		text += fmt.Sprintf("; renewal failed ×%d: %s", s.Token.Failures, shorten(s.Token.LastError))
	}
	return text
}

// span is a duration in one unit, exact enough to act on.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// shorten keeps a table's rows on one line; inspect has the whole text.
func shorten(s string) string {
	const most = 80
	if r := []rune(oneLine(s)); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return oneLine(s)
}

func inspectAction(c *cli.Context) error {
	return inspect(c, (*api.Client).Get, sandboxFacts)
}

// inspect gets what each argument names and prints all of it: as one list in
// JSON, else as blocks of lines.
func inspect[T any](c *cli.Context, get func(*api.Client, context.Context, string) (T, error), facts func(T, time.Time) []api.Fact) error {
	asJSON, err := wantJSON(c)
	if err != nil {
		return err
	}
	var list []T
	refs, err := someArgs(c)
	if err != nil {
		return err
	}
	client, err := connect(c.Context, newProgress(os.Stderr))
	if err != nil {
		return err
	}
	for _, ref := range refs {
		s, err := get(client, c.Context, ref)
		if err != nil {
			return err
		}
		list = append(list, s)
	}
	if asJSON {
		return printJSON(c.App.Writer, list)
	}
	for i, s := range list {
		if i > 0 {
			fmt.Fprintln(c.App.Writer)
		}
		if err := printFacts(c.App.Writer, facts(s, time.Now())); err != nil {
			return err
		}
	}
	return nil
}

// sandboxFacts are inspect's lines; what is empty is left out.
func sandboxFacts(s api.Sandbox, now time.Time) []api.Fact {
	facts := []api.Fact{
		{Name: "Name", Value: s.Name},
		{Name: "ID", Value: s.ID},
		{Name: "Driver", Value: driver(s)},
		{Name: "State", Value: state(s, now)},
		{Name: "Should be", Value: s.Desired},
		{Name: "Reason", Value: s.Reason},
		{Name: "Command", Value: quoted(s.Process.Args)},
		{Name: "User", Value: s.Process.User},
		{Name: "Directory", Value: s.Process.Dir},
		{Name: "Root", Value: s.Rootfs},
		{Name: "Image", Value: s.Image},
		{Name: "CPUs", Value: nonZero(s.CPUs)},
		{Name: "Memory", Value: size(s.Memory)},
		{Name: "Created", Value: moment(s.CreatedAt)},
		{Name: "Started", Value: moment(s.StartedAt)},
		{Name: "Ended", Value: moment(s.ExitedAt)},
		{Name: "Share", Value: s.Share},
	}
	for _, m := range s.Mounts {
		facts = append(facts, api.Fact{Name: "Mount", Value: m.Source + " at " + m.Target + ", read-only"})
	}
	for _, w := range s.Warnings {
		facts = append(facts, api.Fact{Name: "Warning", Value: w})
	}
	facts = append(facts, api.Fact{Name: "Token", Value: freshness(s, now)}, api.Fact{Name: "Lifetime", Value: s.TTL.String()})
	return append(append(facts, tokenFacts(s.Token)...), s.Details...)
}

func tokenFacts(t api.Token) []api.Fact {
	facts := []api.Fact{
		{Name: "Generation", Value: fmt.Sprint(t.Generation)},
		{Name: "Key", Value: t.KeyID},
		{Name: "Token ID", Value: t.TokenID},
		{Name: "Issued", Value: moment(t.IssuedAt)},
		{Name: "Expires", Value: moment(t.ExpiresAt)},
		{Name: "Renewal", Value: moment(t.RenewAt)},
		{Name: "Seen inside", Value: nonZero(t.SeenGeneration)},
		{Name: "Renewals", Value: fmt.Sprint(t.Renewals)},
	}
	if t.Failures > 0 {
		facts = append(facts, api.Fact{Name: "Failures", Value: fmt.Sprintf("%d since the last success, last at %s: %s",
			t.Failures, moment(t.LastErrorAt), t.LastError)})
	}
	return facts
}

// printFacts prints a line for each fact that has a value.
func printFacts(w io.Writer, facts []api.Fact) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range facts {
		if f.Value != "" {
			fmt.Fprintf(t, "%s:\t%s\n", f.Name, oneLine(f.Value))
		}
	}
	return t.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.RFC3339)
}

func nonZero[N uint64 | float64](n N) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func size(n int64) string {
	if n == 0 {
		return ""
	}
	return units.BytesSize(float64(n))
}

// quoted shows a command so that its words can be told apart.
func quoted(args []string) string {
	var words []string
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\n\"'\\$`*?;&|<>()") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}
