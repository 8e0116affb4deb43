package request

import (
	"encoding/csv"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

func mountFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "mount", Usage: "show it the directory `SRC:DST`, read-only; " +
			"SRC:DST:rw lets it write there (repeatable); " +
			"type=bind,source=SRC,target=DST and type=volume,source=NAME,target=DST, too, with readonly or rw"},
		&cli.StringSliceFlag{Name: "volume", Aliases: []string{"v"}, Usage: "docker's spelling of --mount: `SRC:DST:ro` or SRC:DST:rw; " +
			"NAME:DST is a volume, which keeps what is written there (repeatable)"},
	}
}

// mounts reads --mount's and --volume's values. A directory of the host is read-only unless
// its mount says rw, while docker lets a sandbox write to what its mount does not protect: so
// there is a warning where nothing is said. A volume is there to be written to.
func mounts(mounts, volumes []string) (list []api.Mount, warnings []string, err error) {
	add := func(w wanted, err error) error {
		if err != nil {
			return err
		}
		m, warning, err := w.mount()
		if warning != "" {
			warnings = append(warnings, warning)
		}
		list = append(list, m)
		return err
	}
	for _, text := range mounts {
		read := readColons
		if strings.Contains(text, "=") && !strings.Contains(text, ":/") {
			read = readKeys
		}
		if err := add(read(text)); err != nil {
			return nil, nil, err
		}
	}
	for _, text := range volumes {
		if err := add(readVolume(text)); err != nil {
			return nil, nil, err
		}
	}
	return list, warnings, nil
}

// wanted is a mount as it was given.
type wanted struct {
	text           string // all of it
	source, target string
	volume         bool   // the source is a volume's name
	access         string // "ro", "rw", or "" if nothing was said
	quiet          bool   // ours: its form is no habit from elsewhere
	more           string // what to write to say the access
}

func (w wanted) mount() (m api.Mount, warning string, err error) {
	if w.source == "" || !path.IsAbs(w.target) {
		return m, "", malformed(w.text)
	}
	m = api.Mount{Target: path.Clean(w.target), Writable: w.access == "rw"}
	if w.volume {
		m.Volume, m.Writable = w.source, w.access != "ro"
		return m, "", nil
	}
	if w.access == "" && !w.quiet {
		warning = m.Target + " is read-only, as a directory is by default: add " + w.more + "ro to say so, or " +
			w.more + "rw to let it be written to"
	}
	m.Source, err = filepath.Abs(w.source)
	return m, warning, err
}

// readVolume is readColons for docker's -v, where a source that is no path is a volume.
func readVolume(text string) (wanted, error) {
	if !strings.Contains(text, ":") {
		return wanted{}, say.Errorf("write -v NAME:"+text+" for a volume, which keeps what is written there",
			"%q has no source, and there are no volumes without a name", text)
	}
	w, err := readColons(text)
	w.quiet, w.volume = false, !strings.Contains(w.source, "/") && !strings.HasPrefix(w.source, ".") && !strings.HasPrefix(w.source, "~")
	return w, err
}

// noEffect are docker's options that change nothing here.
var noEffect = []string{"nocopy", "cached", "delegated", "consistent", "private", "rprivate"}

// readColons reads SRC:DST[:ro|rw].
func readColons(text string) (wanted, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return wanted{}, malformed(text)
	}
	w := wanted{text: text, source: parts[0], target: parts[1], quiet: true, more: ":"}
	for _, option := range strings.Split(strings.Join(parts[2:], ""), ",") {
		switch {
		case option == "ro" || option == "readonly":
			w.access = "ro"
		case option == "rw":
			w.access = "rw"
		case len(parts) == 3 && !slices.Contains(noEffect, option):
			return w, say.Errorf("write "+parts[0]+":"+parts[1]+":ro, or :rw to let it be written to",
				"mount %q: %q is not known", text, option)
		}
	}
	return w, nil
}

func malformed(text string) error {
	return say.Errorf("write SOURCE:TARGET, the target an absolute path in the sandbox; neither may contain a colon",
		"mount %q is malformed", text)
}

// readKeys reads docker's type=bind,source=SRC,target=DST[,readonly]. Without a type, a
// source that is no path is a volume.
func readKeys(text string) (w wanted, err error) {
	const hint = "write type=bind,source=SOURCE,target=TARGET,readonly, or with rw; or type=volume,source=NAME,target=TARGET"
	w = wanted{text: text, more: ","}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return w, say.Errorf(hint, "mount %q is malformed", text)
	}
	kind := ""
	for _, field := range fields {
		key, value, assigned := strings.Cut(field, "=")
		switch key {
		case "type":
			kind = value
		case "source", "src":
			w.source = value
		case "target", "dst", "destination":
			w.target = value
		case "readonly", "ro", "rw":
			if w.access, err = access(key, value, assigned); err != nil {
				return w, say.Errorf(hint, "mount %q: %q is neither true nor false", text, field)
			}
		case "consistency", "bind-propagation", "volume-nocopy", "relabel": // these change nothing here
		default:
			return w, say.Errorf(hint, "mount %q: %q is not known", text, field)
		}
	}
	switch {
	case kind != "" && kind != "bind" && kind != "volume":
		return w, say.Errorf(hint, "mount %q: there is no type %q", text, kind)
	case kind == "volume" && w.source == "":
		return w, say.Errorf(hint, "mount %q: there are no volumes without a name", text)
	case w.source == "" || !path.IsAbs(w.target):
		return w, say.Errorf(hint, "mount %q is malformed", text)
	}
	w.volume = kind == "volume" || kind == "" && !strings.ContainsAny(w.source, "/.~")
	return w, nil
}

// access reads readonly[=true|false] and rw[=true|false].
func access(key, value string, assigned bool) (string, error) {
	yes := true
	if assigned {
		var err error
		if yes, err = strconv.ParseBool(value); err != nil {
			return "", err
		}
	}
	if yes == (key == "rw") {
		return "rw", nil
	}
	return "ro", nil
}
