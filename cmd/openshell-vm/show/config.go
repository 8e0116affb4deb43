package show

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// PrintConfig prints each setting with its origin.
func PrintConfig(w io.Writer, c api.Config) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SETTING\tVALUE\tFROM")
	for _, s := range c.Settings {
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, cmp.Or(text.Line(s.Value), "-"), text.Line(s.Origin+waits(c.Pending, s.Name)))
	}
	return t.Flush()
}

// waits is what is told of a setting that the gateway does not change while it runs.
func waits(pending []api.Setting, name string) string {
	for _, p := range pending {
		if p.Name == name {
			return " (from the next restart on)"
		}
	}
	return ""
}

// PrintReloaded prints what a reload has changed.
func PrintReloaded(w io.Writer, r api.Reloaded) error {
	for _, s := range r.Changed {
		fmt.Fprintf(w, "%s is %s now\n", s.Name, cmp.Or(text.Line(s.Value), "unset"))
	}
	for _, s := range r.Pending {
		fmt.Fprintf(w, "%s will be %s after a restart: %s gateway restart\n", s.Name, cmp.Or(text.Line(s.Value), "unset"), say.Program)
	}
	if r.Republished > 0 {
		fmt.Fprintf(w, "%s published anew\n", say.Plural(r.Republished, "share"))
	}
	if len(r.Changed)+len(r.Pending) > 0 {
		return nil
	}
	_, err := fmt.Fprintln(w, "nothing has changed")
	return err
}
