package config

import (
	"fmt"
	"strconv"
	"strings"

	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// keptVariables is the line of a copy after which the variables are, each in a comment of its
// own: so a copy is the file's text for an older gateway, too.
const keptVariables = "\n# The environment of then:\n"

// maxKept bounds a copy. Variables are longer than the file only if somebody means harm.
const maxKept = 2 * maxFile

// save keeps a copy of good settings: the file's text, also if there is no file, and the
// variables. It writes only what has changed.
func (l *Live) save(c *Config) error {
	if l.keep == "" {
		return nil
	}
	copied := string(c.text) + keptVariables
	for _, s := range settings {
		if value := l.reader.variable(s); value != "" {
			copied += "# " + s.env + "=" + strconv.QuoteToASCII(value) + "\n"
		}
	}
	if old, err := plainfile.Read(l.keep, maxKept); err == nil && string(old) == copied {
		return nil
	}
	if err := atomicfile.Write(l.keep, l.keep+".new", []byte(copied), atomicfile.Whole); err != nil {
		return fmt.Errorf("keep a copy of the configuration, for a start with a bad one: %w", err)
	}
	return nil
}

// lastGood returns settings in place of those that are bad. It goes back as little as it can:
// to the variables of the copy alone, to its file alone, or to both.
func (l *Live) lastGood() (*Config, error) {
	copied, err := plainfile.Read(l.keep, maxKept)
	if err != nil {
		return nil, err
	}
	text, lookup := splitCopy(string(copied))
	before := l.reader
	before.Lookup = lookup
	if now, err := l.reader.text(); err == nil {
		if c, err := before.parse(now); err == nil {
			return c, nil
		}
	}
	if c, err := l.reader.parse(text); err == nil {
		return c, nil
	}
	return before.parse(text)
}

// splitCopy returns the file's text, nil for no file, and the variables. A copy that an older
// gateway made has none.
func splitCopy(copied string) (text []byte, lookup func(string) string) {
	file, lines := copied, ""
	if i := strings.LastIndex(copied, keptVariables); i >= 0 {
		file, lines = copied[:i], copied[i+len(keptVariables):]
	}
	variables := map[string]string{}
	for line := range strings.Lines(lines) {
		name, quoted, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "# "), "=")
		if value, err := strconv.Unquote(quoted); err == nil {
			variables[name] = value
		}
	}
	if file != "" {
		text = []byte(file)
	}
	return text, func(name string) string { return variables[name] }
}
