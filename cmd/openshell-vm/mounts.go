package main

import (
	"encoding/csv"
	"path"
	"path/filepath"
	"strings"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// mounts reads --mount's and --volume's values. Every mount is read-only: what
// docker would make writable is taken with a warning, or refused where it says so.
func mounts(mounts, volumes []string) (list []api.Mount, warnings []string, err error) {
	for _, text := range mounts {
		m, written, err := api.Mount{}, true, error(nil)
		if strings.Contains(text, "=") && !strings.Contains(text, ":/") {
			m, written, err = readKeys(text)
		} else {
			m, err = readColons(text)
		}
		if err != nil {
			return nil, nil, err
		}
		if !written {
			warnings = append(warnings, m.Target+" is read-only, as every mount is: add ,readonly to say so")
		}
		list = append(list, m)
	}
	for _, text := range volumes {
		m, err := readVolume(text)
		if err != nil {
			return nil, nil, err
		}
		if strings.Count(text, ":") < 2 {
			warnings = append(warnings, m.Target+" is read-only, as every mount is: add :ro to say so")
		}
		list = append(list, m)
	}
	return list, warnings, nil
}

// readVolume is readColons for docker's -v, where a source may be a volume's name.
func readVolume(text string) (api.Mount, error) {
	source, _, several := strings.Cut(text, ":")
	switch {
	case !several:
		return api.Mount{}, say.Errorf("write -v SOURCE:TARGET:ro; what a sandbox writes stays on a disk of its own until rm",
			"there are no volumes: %q has no source", text)
	case source != "" && !strings.ContainsAny(source, "/.~"):
		return api.Mount{}, say.Errorf("write ./"+source+" for a directory here; what a sandbox writes stays on a disk of its own until rm",
			"there are no named volumes: %q is no path", source)
	}
	return readColons(text)
}

// readColons reads SRC:DST[:ro].
func readColons(text string) (api.Mount, error) {
	parts := strings.Split(text, ":")
	if len(parts) == 3 && parts[2] != "ro" && parts[2] != "readonly" {
		return api.Mount{}, say.Errorf("write "+parts[0]+":"+parts[1]+":ro; what a sandbox writes stays in the sandbox",
			"mount %q: %q is refused, every mount is read-only", text, parts[2])
	}
	if len(parts) < 2 || len(parts) > 3 {
		return api.Mount{}, malformed(text)
	}
	return mount(text, parts[0], parts[1])
}

func malformed(text string) error {
	return say.Errorf("write SOURCE:TARGET, the target an absolute path in the sandbox; neither may contain a colon",
		"mount %q is malformed", text)
}

func mount(text, source, target string) (api.Mount, error) {
	if source == "" || !path.IsAbs(target) {
		return api.Mount{}, malformed(text)
	}
	source, err := filepath.Abs(source)
	return api.Mount{Source: source, Target: path.Clean(target)}, err
}

// readKeys reads docker's type=bind,source=SRC,target=DST[,readonly]; readonly
// says whether that is written there.
func readKeys(text string) (m api.Mount, readonly bool, err error) {
	const hint = "write type=bind,source=SOURCE,target=TARGET,readonly, or SOURCE:TARGET"
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return m, false, say.Errorf(hint, "mount %q is malformed", text)
	}
	for _, field := range fields {
		key, value, assigned := strings.Cut(field, "=")
		switch key {
		case "type":
			if value != "bind" {
				return m, false, say.Errorf("give a directory: type=bind; what a sandbox writes stays in the sandbox",
					"mount %q: there is no type %q", text, value)
			}
		case "source", "src":
			m.Source = value
		case "target", "dst", "destination":
			m.Target = value
		case "readonly", "ro":
			if readonly = !assigned || value == "true" || value == "1"; !readonly {
				return m, false, say.Errorf("leave it out; what a sandbox writes stays in the sandbox",
					"mount %q: %q is refused, every mount is read-only", text, field)
			}
		case "consistency", "bind-propagation": // docker's, which change nothing here
		default:
			return m, false, say.Errorf(hint, "mount %q: %q is not known", text, field)
		}
	}
	if m.Source == "" || !path.IsAbs(m.Target) {
		return m, false, say.Errorf(hint, "mount %q is malformed", text)
	}
	m, err = mount(text, m.Source, m.Target)
	return m, readonly, err
}
