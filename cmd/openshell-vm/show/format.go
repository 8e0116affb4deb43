package show

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// SandboxRow is a sandbox for a template of ps: the fields that docker's has, and ours. Each
// is one harmless line.
type SandboxRow struct {
	ID, Names, Name, Image, Command, CreatedAt, RunningFor, Ports, State, Status, Labels, Mounts, Networks string
	Driver, Token, Restarts                                                                                string

	labels map[string]string
}

// Label is the value of a label; "" if there is none.
func (r SandboxRow) Label(name string) string { return text.Line(r.labels[name]) }

// RowOf makes a sandbox's row.
func RowOf(s api.Sandbox, now time.Time) any {
	var mounts []string
	for _, m := range s.Mounts {
		mounts = append(mounts, m.Target)
	}
	row := SandboxRow{
		ID: s.ID, Names: s.Name, Name: s.Name, Image: cmp.Or(s.Image, s.Rootfs), Command: quoted(s.Process.Args),
		CreatedAt: s.CreatedAt.Format(time.RFC3339), RunningFor: Span(now.Sub(s.CreatedAt)) + " ago",
		State: string(s.State), Status: explained(s, now), Labels: strings.Join(labelList(s.Labels), ","), Mounts: strings.Join(mounts, ","), Ports: openPorts(s),
		Driver: driver(s), Token: freshness(s, now), Restarts: fmt.Sprint(s.Restarts),
	}
	v := reflect.ValueOf(&row).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			f.SetString(text.Line(f.String()))
		}
	}
	row.labels = s.Labels
	return row
}

// heading is a row's heading: each field's name in capitals.
type heading struct{ SandboxRow }

// Label is the label's name.
func (heading) Label(name string) string { return name }

func headingOf(row any) any {
	r, ok := row.(SandboxRow)
	if !ok {
		return nil
	}
	h := reflect.ValueOf(&r).Elem()
	for i := range h.NumField() {
		if f := h.Field(i); f.Kind() == reflect.String {
			f.SetString(strings.ToUpper(h.Type().Field(i).Name))
		}
	}
	return heading{r}
}

// IsTemplate reports whether a format is a Go template, as docker takes it.
func IsTemplate(format string) bool { return strings.Contains(format, "{{") }

// Format prints each row by a Go template, one a line. If it begins with "table", the columns
// are aligned, below a heading.
func Format(w io.Writer, format string, rows []any) error {
	body, table := strings.CutPrefix(format, "table ")
	body = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(body)
	t, err := template.New("format").Funcs(functions).Parse(body)
	if err != nil {
		return malformed(format, err)
	}
	out := w
	if table {
		aligned := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
		defer aligned.Flush()
		out = aligned
		if h := headingOf(SandboxRow{}); h != nil {
			rows = append([]any{h}, rows...)
		}
	}
	for _, row := range rows {
		if err := t.Execute(out, row); err != nil {
			return malformed(format, err)
		}
		if _, err := fmt.Fprintln(out); err != nil {
			return err
		}
	}
	return nil
}

func malformed(format string, err error) error {
	reason := err.Error()
	if i := strings.LastIndex(reason, ": "); i >= 0 {
		reason = reason[i+2:]
	}
	return say.Errorf("give a Go template such as '{{.Name}} {{.State}} {{.ExitCode}}', or json, which shows all fields", "the format %q can't be used: %s", format, reason)
}

// functions are docker's.
var functions = template.FuncMap{
	"json": func(v any) (string, error) {
		data, err := json.Marshal(v)
		return string(data), err
	},
	"join": strings.Join, "lower": strings.ToLower, "upper": strings.ToUpper, "split": strings.Split,
	"println": fmt.Sprintln,
	"pad": func(s string, before, after int) string {
		return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
	},
	"truncate": func(s string, n int) string {
		if r := []rune(s); len(r) > n {
			return string(r[:n])
		}
		return s
	},
}
