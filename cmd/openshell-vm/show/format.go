package show

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/internal/text"
)

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
	var lines strings.Builder // all of them, so that a template that can't be used prints nothing
	if table {
		fmt.Fprintln(&lines, heading(t))
	}
	for _, row := range rows {
		var line strings.Builder
		if err := t.Execute(&line, row); err != nil {
			return malformed(format, err)
		}
		fmt.Fprintln(&lines, harmless(line.String()))
	}
	if !table {
		_, err := io.WriteString(w, lines.String())
		return err
	}
	aligned := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
	if _, err := io.WriteString(aligned, lines.String()); err != nil {
		return err
	}
	return aligned.Flush()
}

// HasFields refuses a template with a field that a row like this one does not have. It is for
// lists in which there is nothing yet.
func HasFields(format string, row any) error {
	err := Format(io.Discard, format, []any{row})
	if err != nil && strings.Contains(err.Error(), "can't evaluate field") {
		return err
	}
	return nil
}

// harmless keeps a terminal from what a sandbox, an engine or an image wrote. A template may
// have line breaks and tabs.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || text.Printable(r) {
			return r
		}
		return '?'
	}, s)
}

func malformed(format string, err error) error {
	reason := err.Error()
	if i := strings.LastIndex(reason, ": "); i >= 0 {
		reason = reason[i+2:]
	}
	return say.Errorf("give a Go template such as '{{.Name}} {{.State}} {{.ExitCode}}', or json, which shows all fields",
		"the format %q can't be used: %s", format, reason)
}

// functions are docker's.
var functions = template.FuncMap{
	"json": func(v any) (string, error) {
		data, err := json.Marshal(v)
		return string(text.JSON(data)), err
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
