package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/gateway/api"
)

// gatewayStatusAction starts no gateway: whether one runs is the question.
func gatewayStatusAction(c *cli.Context) error {
	asJSON, err := wantJSON(c)
	if err != nil {
		return err
	}
	if err := noArgs(c); err != nil {
		return err
	}
	client, err := api.Connect(c.Context)
	if errors.Is(err, api.ErrNotRunning) {
		report(os.Stderr, err)
		return exit(codeNo)
	} else if err != nil {
		return err
	}
	tellStale(client.Met())
	if asJSON {
		return printJSON(c.App.Writer, client.Met())
	}
	return printStatus(c.App.Writer, client.Met(), time.Now())
}

// tellStale says what the gateway keeps of the version and environment that it was
// started with.
func tellStale(s api.Status) {
	lines := s.Stale(version, api.OwnEnvironment())
	if len(lines) == 0 {
		return
	}
	warn([]string{fmt.Sprintf("the gateway goes on as it was started (%s): %s gateway restart takes this over; sandboxes go on",
		strings.Join(lines, "; "), appName)})
}

func gatewayStartAction(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	client, err := connect(c.Context, newProgress(os.Stderr))
	if err != nil {
		return err
	}
	return printStatus(c.App.Writer, client.Met(), time.Now())
}

// gatewayRestartAction ends the gateway, if one runs, and starts one of the version
// that is installed and with this environment.
func gatewayRestartAction(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	p := newProgress(os.Stderr)
	old, err := api.Connect(c.Context)
	switch {
	case errors.Is(err, api.ErrNotRunning):
	case err != nil:
		return err
	case old.Met().Unit != "":
		return usage(fmt.Sprintf("systemctl --user restart %s restarts it, with the unit's environment", old.Met().Unit),
			"the gateway is run by the unit %s", old.Met().Unit)
	default:
		p.step("stopping the gateway")
		err = old.StopGateway(c.Context)
		p.done()
		if err != nil {
			return err
		}
	}
	return gatewayStartAction(c)
}

func gatewayStopAction(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	client, err := api.Connect(c.Context)
	if errors.Is(err, api.ErrNotRunning) {
		return nil
	} else if err != nil {
		return err
	}
	p := newProgress(os.Stderr)
	p.step("stopping the gateway")
	defer p.done()
	return client.StopGateway(c.Context)
}

func printStatus(w io.Writer, s api.Status, now time.Time) error {
	facts := []api.Fact{
		{Name: "Gateway", Value: s.ID},
		{Name: "Version", Value: s.Version},
		{Name: "Process", Value: fmt.Sprintf("%d, for %s", s.PID, span(now.Sub(s.StartedAt)))},
		{Name: "Restarted by", Value: strings.TrimSpace(s.Supervisor + " " + s.Unit)},
		{Name: "State", Value: s.StateDir},
		{Name: "Runtime", Value: s.RuntimeDir},
		{Name: "Socket", Value: cmp.Or(s.Socket, filepath.Join(s.RuntimeDir, api.SocketFile))},
		{Name: "Sandboxes", Value: fmt.Sprintf("%d, %d running", s.Sandboxes, s.Running)},
	}
	if s.Environment != nil {
		facts = append(facts, api.Fact{Name: "Engines", Value: engineVariables(s.Environment)})
	}
	for _, line := range s.Advice {
		facts = append(facts, api.Fact{Name: "Advice", Value: line})
	}
	if s.Shares > 0 {
		facts = append(facts, api.Fact{Name: "Shares", Value: fmt.Sprintf("%d for containers of your own", s.Shares)})
	}
	if s.Failing > 0 {
		facts = append(facts, api.Fact{Name: "Failing", Value: fmt.Sprintf("the last renewal of %s failed: see %s ps -a and share ls",
			plural(s.Failing, "token"), appName)})
	}
	for _, line := range s.Short {
		facts = append(facts, api.Fact{Name: "Room", Value: line})
	}
	for _, u := range s.Unreadable {
		facts = append(facts, api.Fact{Name: "Unreadable", Value: fmt.Sprintf("the record of %s, whose token is not renewed: %s",
			strings.TrimSpace(u.Kind+" "+cmp.Or(u.Name, u.ID)), u.Problem)})
	}
	return printFacts(w, facts)
}

// engineVariables are those that the gateway goes by.
func engineVariables(e *api.Environment) string {
	var set []string
	for _, f := range e.Variables {
		set = append(set, f.Name+"="+f.Value)
	}
	if len(set) == 0 {
		return "where they usually are (none of " + strings.Join(api.EngineVariables, ", ") + " was set when it was started)"
	}
	return strings.Join(set, " ") + " (set when it was started)"
}

func doctorAction(c *cli.Context) error {
	asJSON, err := wantJSON(c)
	if err != nil {
		return err
	}
	if err := noArgs(c); err != nil {
		return err
	}
	p := newProgress(os.Stderr)
	client, err := connect(c.Context, p)
	if err != nil {
		return err
	}
	p.step("probing the drivers")
	d, err := client.Doctor(c.Context)
	p.done()
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(c.App.Writer, d)
	} else {
		err = printDoctor(c.App.Writer, d)
	}
	if err == nil && d.Chosen == "" {
		return exit(codeNo)
	}
	return err
}

func printDoctor(w io.Writer, d api.Doctor) error {
	chosen := d.Chosen
	if chosen == "" {
		chosen = "none"
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "driver taken:\t%s (%s)\n", chosen, oneLine(d.Why))
	for _, r := range d.Drivers {
		verdict := "usable"
		if !r.Usable {
			verdict = "not usable: " + oneLine(r.Problem)
		}
		fmt.Fprintf(t, "\n%s\t%s\n", r.Name, verdict)
		for _, f := range append([]api.Fact{{Name: "hint", Value: r.Hint}, {Name: "version", Value: r.Version}}, r.Details...) {
			if f.Value != "" {
				fmt.Fprintf(t, "  %s\t%s\n", f.Name, oneLine(f.Value))
			}
		}
	}
	fmt.Fprint(t, "\nhost\t\n")
	for _, f := range d.Host {
		fmt.Fprintf(t, "  %s\t%s\n", f.Name, oneLine(f.Value))
	}
	return t.Flush()
}

// versionAction asks the gateway only if one runs.
func versionAction(c *cli.Context) error {
	fmt.Fprintf(c.App.Writer, "%s %s (%s, %s/%s)\n", appName, version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	ctx, cancel := context.WithTimeout(c.Context, time.Second)
	defer cancel()
	client, err := api.Connect(ctx)
	if err != nil {
		return nil
	}
	if status, err := client.Status(ctx); err == nil {
		fmt.Fprintf(c.App.Writer, "openshell-gateway %s (running, process %d)\n", status.Version, status.PID)
	}
	return nil
}
