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

// Settings returns all settings, in the order of Names.
func (c *Config) Settings() (list []Setting) {
	for _, s := range settings {
		list = append(list, Setting{Name: s.name, Value: c.shown(s), Origin: c.origin(s.name), Once: s.once})
	}
	return list
}

// Warnings are what is allowed but should be known, one line each.
func (c *Config) Warnings() []string { return c.warnings() }

// Changed returns the settings that differ from those of before, as they are now.
func (c *Config) Changed(before *Config) []Setting {
	old := before.Settings()
	return slices.DeleteFunc(c.Settings(), func(s Setting) bool {
		return slices.ContainsFunc(old, func(o Setting) bool { return o.Name == s.Name && o.Value == s.Value })
	})
}

func (c *Config) origin(name string) string {
	if origin, ok := c.origins[name]; ok {
		return origin
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
