package show

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// PrintStatus prints gateway status.
func PrintStatus(w io.Writer, s api.Status, now time.Time) error {
	facts := []api.Fact{
		{Name: "Gateway", Value: s.ID},
		{Name: "Version", Value: s.Version},
		{Name: "Process", Value: fmt.Sprintf("%d, for %s", s.PID, Span(now.Sub(s.StartedAt)))},
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
			say.Plural(s.Failing, "token"), say.Program)})
	}
	for _, line := range s.Short {
		facts = append(facts, api.Fact{Name: "Room", Value: line})
	}
	facts = append(facts, s.Further...)
	for _, u := range s.Unreadable {
		facts = append(facts, api.Fact{Name: "Unreadable", Value: fmt.Sprintf("the record of %s, whose token is not renewed: %s",
			strings.TrimSpace(u.Kind+" "+cmp.Or(u.Name, u.ID)), u.Problem)})
	}
	return PrintFacts(w, facts)
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

// PrintDoctor prints what the gateway found of its drivers and its host.
func PrintDoctor(w io.Writer, d api.Doctor) error {
	chosen := d.Chosen
	if chosen == "" {
		chosen = "none"
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "driver taken:\t%s (%s)\n", chosen, text.Line(d.Why))
	for _, r := range d.Drivers {
		verdict := "usable"
		if !r.Usable {
			verdict = "not usable: " + text.Line(r.Problem)
		}
		fmt.Fprintf(t, "\n%s\t%s\n", r.Name, verdict)
		for _, f := range append([]api.Fact{{Name: "hint", Value: r.Hint}, {Name: "version", Value: r.Version}}, r.Details...) {
			if f.Value != "" {
				fmt.Fprintf(t, "  %s\t%s\n", f.Name, text.Line(f.Value))
			}
		}
	}
	fmt.Fprint(t, "\nhost\t\n")
	for _, f := range d.Host {
		fmt.Fprintf(t, "  %s\t%s\n", f.Name, text.Line(f.Value))
	}
	return t.Flush()
}
