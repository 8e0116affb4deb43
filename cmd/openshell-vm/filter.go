package main

import (
	"slices"
	"strings"

	"openshell-vm/gateway/api"
)

// filter is ps --filter: of each key one value has to fit, as in docker. One
// for the status looks at those that do not run, too.
type filter map[string][]string

// fits says, for each key, whether a sandbox fits a value.
var fits = map[string]func(s api.Sandbox, value string) bool{
	"name":   func(s api.Sandbox, value string) bool { return strings.Contains(s.Name, value) },
	"id":     func(s api.Sandbox, value string) bool { return strings.HasPrefix(s.ID, value) },
	"status": func(s api.Sandbox, value string) bool { return string(s.State) == value },
	"driver": func(s api.Sandbox, value string) bool { return s.Driver == value || driver(s) == value },
}

func readFilter(texts []string) (filter, error) {
	f := filter{}
	for _, text := range texts {
		key, value, assigned := strings.Cut(text, "=")
		if fits[key] == nil || !assigned || value == "" {
			return nil, usage("use name=, id=, driver= or status=, which is one of created, starting, running, stopping, exited, dead",
				"the filter %q is not known", text)
		}
		f[key] = append(f[key], value)
	}
	return f, nil
}

func (f filter) choose(list []api.Sandbox) []api.Sandbox {
	return slices.DeleteFunc(list, func(s api.Sandbox) bool {
		for key, values := range f {
			if !slices.ContainsFunc(values, func(v string) bool { return fits[key](s, v) }) {
				return true
			}
		}
		return false
	})
}
