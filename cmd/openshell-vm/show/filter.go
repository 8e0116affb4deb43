package show

import (
	"slices"
	"strconv"
	"strings"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// FilterKeys are the keys of ps --filter, for its help.
const FilterKeys = "name, id, status, driver, label, exited (code), ancestor (image)"

// Filter is ps --filter. Of each key one value has to fit, as in docker, but of label all.
type Filter map[string][]string

// fits says, for each key, whether a sandbox fits a value.
var fits = map[string]func(s api.Sandbox, value string) bool{
	"name":   func(s api.Sandbox, value string) bool { return strings.Contains(s.Name, value) },
	"id":     func(s api.Sandbox, value string) bool { return strings.HasPrefix(s.ID, value) },
	"status": func(s api.Sandbox, value string) bool { return string(s.State) == value },
	"label": func(s api.Sandbox, value string) bool {
		name, want, valued := strings.Cut(value, "=")
		got, there := s.Labels[name]
		return there && (!valued || got == want)
	},
	"exited": func(s api.Sandbox, value string) bool { return s.ExitCode != nil && strconv.Itoa(*s.ExitCode) == value },
	"ancestor": func(s api.Sandbox, value string) bool {
		return s.Image != "" && (s.Image == value || strings.HasPrefix(s.Image, value+":") || strings.HasPrefix(s.Image, value+"@"))
	},
	"driver": func(s api.Sandbox, value string) bool { return s.Driver == value || driver(s) == value },
}

// ReadFilter reads KEY=VALUE each.
func ReadFilter(texts []string) (Filter, error) {
	f := Filter{}
	for _, text := range texts {
		key, value, assigned := strings.Cut(text, "=")
		if fits[key] == nil || !assigned || value == "" {
			return nil, say.Errorf("use name=, id=, driver=, label=, exited=, ancestor= or status=, which is one of "+
				"created, starting, running, stopping, restarting, exited, dead",
				"the filter %q is not known", text)
		}
		f[key] = append(f[key], value)
	}
	return f, nil
}

// Choose gives the sandboxes that fit, in the list's own memory.
func (f Filter) Choose(list []api.Sandbox) []api.Sandbox {
	return slices.DeleteFunc(list, func(s api.Sandbox) bool {
		for key, values := range f {
			fit := func(v string) bool { return fits[key](s, v) }
			if !slices.ContainsFunc(values, fit) || key == "label" && slices.ContainsFunc(values, func(v string) bool { return !fit(v) }) {
				return true
			}
		}
		return false
	})
}
