package show

import (
	"slices"
	"strings"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// Filter is ps --filter. Of each key one value has to fit, as in docker.
type Filter map[string][]string

// fits says, for each key, whether a sandbox fits a value.
var fits = map[string]func(s api.Sandbox, value string) bool{
	"name":   func(s api.Sandbox, value string) bool { return strings.Contains(s.Name, value) },
	"id":     func(s api.Sandbox, value string) bool { return strings.HasPrefix(s.ID, value) },
	"status": func(s api.Sandbox, value string) bool { return string(s.State) == value },
	"driver": func(s api.Sandbox, value string) bool { return s.Driver == value || driver(s) == value },
}

// ReadFilter reads KEY=VALUE each.
func ReadFilter(texts []string) (Filter, error) {
	f := Filter{}
	for _, text := range texts {
		key, value, assigned := strings.Cut(text, "=")
		if fits[key] == nil || !assigned || value == "" {
			return nil, say.Errorf("use name=, id=, driver= or status=, which is one of created, starting, running, stopping, exited, dead",
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
			if !slices.ContainsFunc(values, func(v string) bool { return fits[key](s, v) }) {
				return true
			}
		}
		return false
	})
}
