package config

import (
	"slices"
	"strings"
)

// Setting is one setting as it is shown.
type Setting struct {
	Name   string
	Value  string // "" for none
	Origin string // default, FILE:LINE, "environment: VARIABLE", or flag
	Once   bool   // a gateway that runs does not change it
}

// Settings returns all settings, in the order of Names, and then those of each cluster.
func (c *Config) Settings() (list []Setting) {
	for _, s := range settings {
		list = append(list, Setting{Name: s.name, Value: c.shown(s), Origin: c.origin(s.name), Once: s.once})
	}
	return append(list, c.clusterSettings()...)
}

// Warnings are what is allowed but should be known, one line each.
func (c *Config) Warnings() []string { return c.warnings() }

// Changed returns the settings that differ from those of before, as they are now. One of a cluster
// that is gone has no value.
func (c *Config) Changed(before *Config) []Setting {
	old, now := before.Settings(), c.Settings()
	changed := slices.DeleteFunc(slices.Clone(now), func(s Setting) bool {
		return slices.ContainsFunc(old, func(o Setting) bool { return o.Name == s.Name && o.Value == s.Value })
	})
	for _, o := range old {
		if !slices.ContainsFunc(now, func(s Setting) bool { return s.Name == o.Name }) {
			changed = append(changed, Setting{Name: o.Name, Origin: "default"})
		}
	}
	return changed
}

// origin returns where a value came from.
func (c *Config) origin(name string) string {
	if origin, ok := c.origins[name]; ok {
		return origin
	}
	return "default"
}

// near returns where a setting is that may be missing: if it is, where its table is.
func (c *Config) near(name string) string {
	for name != "" {
		if origin, ok := c.origins[name]; ok {
			return origin
		}
		name = name[:max(0, strings.LastIndexAny(name, ".["))]
	}
	return "default"
}

// shown is a value as text.
func (c *Config) shown(s setting) string {
	switch v := s.value(&c.Values).(type) {
	case *string:
		return *v
	case *Duration:
		return v.String()
	case *[]string:
		return strings.Join(*v, " ")
	}
	panic("nothing shows a " + s.name)
}
