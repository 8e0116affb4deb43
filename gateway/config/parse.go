package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Config is all settings, as they were read once.
type Config struct {
	Values
	File string // that was read; "" if there was none

	text    []byte
	origins map[string]string // by name; none means the default
}

// parse makes a Config of the file's text and the reader's other places.
func (r Reader) parse(text []byte) (*Config, error) {
	c := &Config{Values: defaults(), text: text, origins: map[string]string{}}
	if text != nil {
		c.File = r.File
	}
	var wrong Error
	for _, s := range settings {
		if d, ok := r.Defaults[s.name]; ok {
			wrong.add(r.set(c, s, d, ""))
		}
	}
	wrong.Problems = append(wrong.Problems, c.decode()...)
	if len(wrong.Problems) > 0 {
		return nil, &wrong // an unknown name may stand for any setting
	}
	for _, s := range settings {
		if value := r.variable(s); value != "" {
			wrong.add(r.set(c, s, value, "environment: "+s.env))
		}
		if value, ok := r.Flags[s.name]; ok {
			wrong.add(r.set(c, s, value, "flag"))
		}
	}
	if _, set := c.origins["publish-for"]; !set && c.Issuer != "" {
		c.PublishFor = issuedAhead
	}
	wrong.Problems = append(wrong.Problems, c.settleClusters()...)
	for _, s := range settings {
		if err := s.check(&c.Values); err != nil && !wrong.about(s.name) {
			wrong.add(&Problem{Where: c.origin(s.name), Name: s.name, Message: fmt.Sprintf("%s: %v", s.name, err), Hint: "it is " + s.form})
		}
	}
	if len(wrong.Problems) > 0 {
		return nil, &wrong
	}
	return c, nil
}

func (r Reader) variable(s setting) string {
	if r.Lookup == nil || s.env == "" {
		return ""
	}
	return r.Lookup(s.env)
}

// set sets one value from its text. An origin of "" is the default.
func (r Reader) set(c *Config, s setting, text, origin string) *Problem {
	switch v := s.value(&c.Values).(type) {
	case *string:
		*v = text
	case *Duration:
		if err := v.UnmarshalText([]byte(text)); err != nil {
			return &Problem{Where: origin, Name: s.name, Message: fmt.Sprintf("%s: %q is no duration", s.name, text),
				Hint: "it is " + s.form}
		}
	default:
		panic("no text is made a " + s.name)
	}
	if origin != "" {
		c.origins[s.name] = origin
	}
	return nil
}

// decode reads the file's text strictly.
func (c *Config) decode() (wrong []Problem) {
	d := toml.NewDecoder(bytes.NewReader(c.text))
	d.DisallowUnknownFields()
	err := d.Decode(&c.Values)
	var unknown *toml.StrictMissingError
	var one *toml.DecodeError
	switch {
	case err == nil:
		for _, e := range entries(c.text) {
			c.origins[e.name] = fmt.Sprintf("%s:%d", c.File, e.line)
		}
	case errors.As(err, &unknown):
		for _, e := range unknown.Errors {
			wrong = append(wrong, c.unknown(&e))
		}
	case errors.As(err, &one):
		wrong = append(wrong, c.mistaken(one))
	default: // the library names no line for a number in place of a duration
		wrong = c.numbers()
		if len(wrong) == 0 {
			wrong = append(wrong, Problem{Where: c.File, Message: strings.TrimPrefix(err.Error(), "toml: "), Hint: hintTOML})
		}
	}
	return wrong
}

// numbers are the refusals of durations that are no strings.
func (c *Config) numbers() (wrong []Problem) {
	for _, e := range entries(c.text) {
		for _, s := range settings {
			if _, is := s.value(&c.Values).(*Duration); is && s.name == e.name && e.kind != unstable.String {
				wrong = append(wrong, kindProblem(s, fmt.Sprintf("%s:%d", c.File, e.line)))
			}
		}
	}
	return wrong
}

func kindProblem(s setting, where string) Problem {
	return Problem{Where: where, Name: s.name, Message: s.name + " has a value of another kind", Hint: "it is " + s.form}
}

const hintTOML = "the file is TOML: NAME = \"VALUE\", one on each line"

func (c *Config) at(e *toml.DecodeError) string {
	line, _ := e.Position()
	return fmt.Sprintf("%s:%d", c.File, line)
}

// unknown is the refusal of a name.
func (c *Config) unknown(e *toml.DecodeError) Problem {
	name, typed, names := strings.Join(e.Key(), "."), strings.Join(e.Key(), "."), append(Names(), clustersName)
	if within := namesWithin(e.Key()); within != nil {
		typed, names = e.Key()[len(e.Key())-1], within
	} else if len(e.Key()) > 1 && nearest(e.Key()[0], names) == clustersName {
		typed = e.Key()[0]
	}
	hint := "settings are " + strings.Join(names, ", ")
	if near := nearest(typed, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return Problem{Where: c.at(e), Name: name, Message: fmt.Sprintf("there is no setting %q", name), Hint: hint}
}

// mistaken is the refusal of a value, or of what is no TOML.
func (c *Config) mistaken(e *toml.DecodeError) Problem {
	for _, s := range settings {
		if len(e.Key()) > 0 && e.Key()[0] == s.name && !strings.Contains(e.Error(), "already") {
			return kindProblem(s, c.at(e))
		}
	}
	if len(e.Key()) > 0 && e.Key()[0] == clustersName && !strings.Contains(e.Error(), "already") {
		name := strings.Join(e.Key(), ".")
		return Problem{Where: c.at(e), Name: name, Message: name + " has a value of another kind", Hint: "it is " + formWithin(e.Key())}
	}
	return Problem{Where: c.at(e), Message: strings.TrimPrefix(e.Error(), "toml: "), Hint: hintTOML}
}

// entry is a name of the file, or a table. In a table the name begins with that of the table; in
// the second table of a list that is LIST[2].
type entry struct {
	name string
	line int
	kind unstable.Kind // of a value, or of the table
}

// entries returns the names in a text that has the form of TOML.
func entries(text []byte) (list []entry) {
	var p unstable.Parser
	p.Reset(text)
	table, nth := "", map[string]int{}
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.KeyValue && e.Kind != unstable.Table && e.Kind != unstable.ArrayTable {
			continue
		}
		name, line := "", 0
		for key := e.Key(); key.Next(); {
			if line == 0 {
				line = p.Shape(key.Node().Raw).Start.Line
			}
			name += "." + string(key.Node().Data)
		}
		name, kind := name[1:], e.Kind
		switch e.Kind {
		case unstable.ArrayTable:
			nth[name]++
			name = fmt.Sprintf("%s[%d]", name, nth[name])
			table = name + "."
		case unstable.Table:
			table = name + "."
		case unstable.KeyValue:
			name, kind = table+name, e.Value().Kind
		}
		list = append(list, entry{name, line, kind})
	}
	return list
}

// nearest returns the name that is closest to a mistyped one; "" if none is close.
func nearest(typed string, names []string) string {
	best := slices.MinFunc(names, func(a, b string) int { return cmp.Compare(distance(typed, a), distance(typed, b)) })
	if d := distance(typed, best); d > max(2, len(best)/3) || d >= len(typed) {
		return ""
	}
	return best
}

// distance is how many letters have to be put in, taken away, changed, or exchanged with
// their neighbour, so that a becomes b.
func distance(a, b string) int {
	a, b = strings.ToLower(strings.ReplaceAll(a, "_", "-")), strings.ToLower(b)
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
