package project

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/say"
)

// commandKey is the only key that is no flag: the words behind the flags.
const commandKey = "command"

// notForFiles are flags that say how one call of a command behaves.
var notForFiles = []string{"quiet"}

// key is a word of the file. All but one are made of flags.
type key struct {
	name  string
	kind  kind
	table bool // NAME=VALUE texts, which may be written as a table
}

type kind int

// What a value has to be.
const (
	oneText kind = iota
	duration
	yesNo
	number
	wholeNumber
	texts
)

// forms is how a value of each kind is written.
var forms = map[kind]string{
	oneText: `a string, %s = "…"`, duration: `a string, such as %s = "15m"`, yesNo: "%s = true or %[1]s = false",
	number: "a number, such as %s = 1.5", wholeNumber: "a whole number, such as %s = 2", texts: `a list of strings, %s = ["…", "…"]`,
}

// keysOf makes the keys of flags.
func keysOf(flags []cli.Flag) map[string]key {
	keys := map[string]key{commandKey: {name: commandKey, kind: texts}}
	for _, f := range flags {
		name := f.Names()[0]
		if slices.Contains(notForFiles, name) {
			continue
		}
		k := key{name: name, kind: kindOf(f)}
		if d, ok := f.(cli.DocGenerationFlag); ok && k.kind == texts {
			k.table = named.MatchString(d.GetUsage())
		}
		keys[name] = k
	}
	return keys
}

// named matches the help of a flag that takes NAME=VALUE.
var named = regexp.MustCompile("`\\[?(K|NAME)\\[?\\]?=")

func kindOf(f cli.Flag) kind {
	switch f.(type) {
	case *cli.BoolFlag:
		return yesNo
	case *cli.DurationFlag:
		return duration
	case *cli.Float64Flag:
		return number
	case *cli.IntFlag, *cli.Int64Flag, *cli.UintFlag, *cli.Uint64Flag:
		return wholeNumber
	}
	if s, ok := f.(cli.DocGenerationSliceFlag); ok && s.IsSliceFlag() {
		return texts
	}
	return oneText
}

// value is what a flag is given once, and its line; 0 if that is the key's.
type value struct {
	text string
	line int
}

// values makes of a key's value what the flag is given, once for each. line is that of what is in a
// table or a list.
func (k key) values(all any, line func(within string) int) (list []value, err error) {
	switch v := all.(type) {
	case []any:
		for i, one := range v {
			t, ok := scalar(one)
			if _, is := one.(bool); !ok || is {
				return nil, k.wrong("")
			}
			list = append(list, value{t, line(strconv.Itoa(i))})
		}
		if k.kind != texts {
			return nil, k.wrong("")
		}
	case map[string]any:
		if !k.table {
			return nil, k.wrong("")
		}
		for _, name := range byLine(v, line) {
			t, ok := scalar(v[name])
			if !ok || name == "" || strings.Contains(name, "=") {
				return nil, k.wrong(" at " + strconv.Quote(name))
			}
			list = append(list, value{name + "=" + t, line(name)})
		}
	default:
		t, ok := scalar(all)
		if !ok || !k.takes(all) {
			return nil, k.wrong("")
		}
		if _, err := time.ParseDuration(t); k.kind == duration && err != nil {
			return nil, say.Errorf("give one such as 90s, 15m or 1h", "%s %q is not a duration", k.name, t)
		}
		list = []value{{t, 0}}
	}
	return list, nil
}

// takes says whether a value that is neither a list nor a table is of the key's kind.
func (k key) takes(value any) bool {
	switch value.(type) {
	case bool:
		return k.kind == yesNo
	case int64:
		return k.kind == number || k.kind == wholeNumber
	case float64:
		return k.kind == number
	case string:
		return k.kind == oneText || k.kind == duration
	}
	return false
}

func (k key) wrong(at string) error {
	form := fmt.Sprintf(forms[k.kind], k.name)
	if k.table {
		form += ", or a table, " + k.name + ` = { NAME = "VALUE" }`
	}
	return say.Errorf("it is "+form, "%s has a value of another kind%s", k.name, at)
}

// scalar is a value's text.
func scalar(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, !strings.Contains(v, "\x00")
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

// elsewhere are words of compose files and of devcontainer.json, with what to do.
var elsewhere = map[string]string{
	"services":          "a project file is for one sandbox: its keys stand at the top",
	"version":           "leave it out: the file's form has no version",
	"environment":       "write env",
	"remoteenv":         "write env",
	"containerenv":      "write env",
	"ports":             "write publish, with 8080:80 for a port of this host",
	"forwardports":      "write publish, with 8080:80 for a port of this host",
	"expose":            "write publish, with 8080:80 for a port of this host",
	"working_dir":       "write workdir",
	"workspacefolder":   "write workdir",
	"workspacemount":    "write mount",
	"mem_limit":         "write memory",
	"pull_policy":       "write pull",
	"stdin_open":        "write interactive",
	"container_name":    "write name",
	"networks":          "write network, user or none",
	"network_mode":      "write network, user or none",
	"remoteuser":        "write user",
	"build":             "build the image before, and name it with image",
	"dockerfile":        "build the image before, and name it with image",
	"depends_on":        "a project file is for one sandbox, which waits for no other",
	"postcreatecommand": "make it part of the image, or of command",
	"initializecommand": "run it yourself before: up runs no command on this host",
	"password":          noSecretHint,
	"api-key":           noSecretHint,
}

// unknown answers a key that there is not.
func unknown(name string, known map[string]key) error {
	hint := "the keys are flags of " + say.Program + " run, whose --help lists them, and " + commandKey
	if h, is := elsewhere[strings.ToLower(name)]; is {
		hint = h
	} else if slices.Contains(notForFiles, name) {
		hint = "give --" + name + " to the command that you call"
	} else if first, near := firstName(name), cmdline.Nearest(name, slices.Sorted(maps.Keys(known))); first != "" {
		hint = "write " + first
	} else if near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return say.Errorf(hint, "there is no key %q", name)
}

// firstName is that of the flag that has a further name; "" if none has.
func firstName(further string) string {
	for _, f := range request.Flags() {
		if names := f.Names(); slices.Contains(names[1:], further) {
			return names[0]
		}
	}
	return ""
}
