package project

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/say"
)

// setting is one value of a file: of a list or a table each value is one.
type setting struct {
	file string
	line int
	key  string
	text string // what the flag is given
}

// shown is the setting for people.
func (s setting) shown() string { return s.key + " = " + strconv.Quote(s.text) }

// wrong adds to an error where it is.
func (s setting) wrong(err error) error { return inFile(s.file, s.line, err) }

// inFile adds to an error the file, and the line if it is known.
func inFile(file string, line int, err error) error {
	if line > 0 {
		file += ":" + strconv.Itoa(line)
	}
	var e *say.Error
	hint := say.Program + " run --help explains the flag of that name"
	if errors.As(err, &e) && e.Hint != "" {
		hint = e.Hint
	}
	return say.Errorf(hint, "%s: %v", file, err)
}

// parse reads a file's text strictly. The settings come in the order of their lines. The first
// thing that is wrong is the error.
func parse(file string, content []byte) (settings []setting, err error) {
	all := map[string]any{}
	if err := toml.Unmarshal(content, &all); err != nil {
		line := 0
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ = at.Position()
		}
		return nil, inFile(file, line, say.Errorf(`the file is TOML: KEY = "VALUE", one on each line, and each key once`, "%s",
			strings.TrimPrefix(err.Error(), "toml: ")))
	}
	lines := lineNumbers(content)
	known := keysOf(request.Flags())
	for _, name := range byLine(all, func(name string) int { return lines[name] }) {
		s := setting{file: file, line: lines[name], key: name}
		k, is := known[name]
		if !is {
			return nil, s.wrong(unknown(name, known))
		}
		values, err := k.values(all[name], func(within string) int { return lines[name+"."+within] })
		if err != nil {
			return nil, s.wrong(err)
		}
		for _, v := range values {
			s.text, s.line = v.text, cmp.Or(v.line, lines[name])
			if err := s.noSecret(); err != nil {
				return nil, s.wrong(err)
			}
			settings = append(settings, s)
		}
	}
	return settings, nil
}

// byLine gives a table's names in the order of their lines.
func byLine(table map[string]any, line func(name string) int) []string {
	return slices.SortedFunc(maps.Keys(table), func(a, b string) int {
		return cmp.Or(cmp.Compare(line(a), line(b)), cmp.Compare(a, b))
	})
}

// lineNumbers are those of the keys; of what is in a table or a list as KEY.NAME and KEY.INDEX. What
// lies deeper, where no value has its place, has none. The text has the form of TOML.
func lineNumbers(content []byte) map[string]int {
	lines := map[string]int{}
	var p unstable.Parser
	p.Reset(content)
	number := func(n *unstable.Node) int {
		if n.Raw.Length == 0 {
			return 0
		}
		return p.Shape(n.Raw).Start.Line
	}
	var add func(within string, e *unstable.Node) string
	add = func(name string, e *unstable.Node) string {
		for key := e.Key(); key.Next() && !strings.Contains(name, "."); {
			name = strings.TrimPrefix(name+"."+string(key.Node().Data), ".")
			if lines[name] == 0 {
				lines[name] = number(key.Node())
			}
		}
		if e.Kind != unstable.KeyValue {
			return name
		}
		i := 0
		for values := e.Value().Children(); values.Next(); i++ {
			switch v := values.Node(); e.Value().Kind {
			case unstable.Array:
				lines[name+"."+strconv.Itoa(i)] = number(v)
			case unstable.InlineTable:
				add(name, v)
			}
		}
		return name
	}
	table := ""
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.KeyValue:
			add(table, e)
		case unstable.Table, unstable.ArrayTable:
			table = add("", e)
		}
	}
	return lines
}
