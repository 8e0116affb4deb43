package main

import (
	"bytes"
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
	"openshell-vm/internal/text"
)

func psAction(c *cli.Context) error {
	filter, err := readFilter(c.StringSlice("filter"))
	if err != nil {
		return err
	}
	all := func(client *api.Client) ([]api.Sandbox, error) {
		list, err := client.List(c.Context)
		if !c.Bool("all") && len(filter["status"]) == 0 {
			list = current(list)
		}
		return filter.choose(list), err
	}
	return list(c, all, func(s api.Sandbox) string { return s.ID }, sandboxTable)
}

// list prints what get gives: as JSON, or each one's name alone, or as a table.
func list[T any](c *cli.Context, get func(*api.Client) ([]T, error), name func(T) string, rows func([]T, time.Time) *table) error {
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
	warn(client.Met().Short)
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
	width := terminalWidth()
	if c.Bool("no-trunc") {
		width = 0
	}
	return rows(all, time.Now()).print(c.App.Writer, width)
}

// current leaves out what was stopped or ended as it should; what should run
// and does not stays.
func current(list []api.Sandbox) []api.Sandbox {
	var some []api.Sandbox
	for _, s := range list {
		switch s.State {
		case api.StateRunning, api.StateStarting, api.StateStopping, api.StateUnknown, api.StateUnreadable: // that one may run, too
			some = append(some, s)
		case api.StateDead:
			if s.Desired == api.WantRunning {
				some = append(some, s)
			}
		}
	}
	return some
}

func sandboxTable(list []api.Sandbox, now time.Time) *table {
	t := newTable("NAME~16", "ID", "DRIVER", "STATE~16", "TOKEN~16")
	for _, s := range list {
		t.add(s.Name, s.ID, driver(s), explained(s, now), freshness(s, now))
	}
	return t
}

// driver names the hypervisor, too, once it is known: auto is none.
func driver(s api.Sandbox) string {
	if s.Hypervisor != "" && s.Hypervisor != "auto" {
		return s.Driver + "/" + s.Hypervisor
	}
	return s.Driver
}

// explained is the sandbox's state, and the reason if there is one.
func explained(s api.Sandbox, now time.Time) string {
	running := s.State == api.StateRunning && !s.StartedAt.IsZero()
	stands := strings.HasPrefix(s.Reason, "frozen: ") || strings.HasPrefix(s.Reason, "held: ")
	switch {
	case running && stands: // it needs its user
		return state(s, now) + ", " + oneLine(s.Reason)
	case s.Reason == "" || running:
		return state(s, now)
	}
	return state(s, now) + ": " + oneLine(s.Reason)
}

// state is the sandbox's state, and for how long it has been in it.
func state(s api.Sandbox, now time.Time) string {
	switch {
	case s.State == api.StateRunning && !s.StartedAt.IsZero():
		return "running " + span(now.Sub(s.StartedAt))
	case s.State == api.StateExited && s.ExitCode != nil && s.ExitedAt.IsZero(): // Docker does not keep when a start failed
		return fmt.Sprintf("exited (%d)", *s.ExitCode)
	case s.State == api.StateExited && s.ExitCode != nil:
		return fmt.Sprintf("exited (%d) %s ago", *s.ExitCode, span(now.Sub(s.ExitedAt)))
	}
	return string(s.State)
}

// freshness says how long the token is good for, and whether renewing it
// fails. One that is not good is loud only where something could be using it.
func freshness(s api.Sandbox, now time.Time) string {
	var text string
	left := s.Token.ExpiresAt.Sub(now)
	switch {
	case s.State == api.StateUnreadable:
		text = "not renewed"
	case s.Token.ExpiresAt.IsZero():
		text = "none yet"
	case left > 0 && s.Token.Revoked && s.State == api.StateRunning:
		text = "REVOKED: its key is retired"
	case left > 0 && s.Token.Revoked:
		text = "revoked: its key is retired"
	case left > 0:
		text = "expires in " + span(left)
	case s.State == api.StateRunning:
		text = "EXPIRED " + span(-left) + " ago"
	default:
		text = "expired " + span(-left) + " ago"
	}
	if s.Token.Failures > 0 {
		text += fmt.Sprintf("; renewal failed ×%d: %s", s.Token.Failures, oneLine(s.Token.LastError))
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
		{Name: "Disk", Value: size(s.Disk)},
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
		{Name: "Revoked", Value: revoked(t)},
		{Name: "Renewal", Value: moment(t.RenewAt)},
		{Name: "Seen inside", Value: nonZero(t.SeenGeneration)},
		{Name: "Renewals", Value: fmt.Sprintf("%d since the gateway started", t.Renewals)},
	}
	if t.Failures > 0 {
		facts = append(facts, api.Fact{Name: "Failures", Value: fmt.Sprintf("%d since the last success, last at %s: %s",
			t.Failures, moment(t.LastErrorAt), t.LastError)})
	}
	return facts
}

func revoked(t api.Token) string {
	if !t.Revoked {
		return ""
	}
	return "verifiers refuse it: its key is retired; the next start, or " + appName + " token rotate, makes a new one"
}

// printFacts prints a line for each fact that has a value.
func printFacts(w io.Writer, facts []api.Fact) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range facts {
		if f.Value != "" {
			fmt.Fprintf(t, "%s:\t%s\n", oneLine(f.Name), oneLine(f.Value))
		}
	}
	return t.Flush()
}

func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(text.JSON(b.Bytes()))
	return err
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
