// Package logind tells what systemd's logind does when a user's last session ends.
//
// Without lingering, logind ends the user's manager and its units, and removes the user's
// runtime directory. Processes of a session stay, unless KillUserProcesses is set. All
// functions read the host's files below a root, which tests can make up. None asks logind
// itself.
package logind

import (
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path"
	"slices"
	"strings"
)

// Lingers reports whether lingering is on for the user of that name.
func Lingers(root fs.FS, name string) bool {
	if name == "" || strings.Contains(name, "/") {
		return false
	}
	_, err := fs.Stat(root, path.Join("var/lib/systemd/linger", name))
	return err == nil
}

// Runs reports whether systemd, and so logind, runs the host.
func Runs(root fs.FS) bool {
	_, err := fs.Stat(root, "run/systemd/system")
	return err == nil
}

// KillsProcesses reports whether logind kills the processes of that user's sessions when
// these end. It reads logind's configuration: the last setting counts. A commented line in
// the main file shows the default that logind was built with.
func KillsProcesses(root fs.FS, name string) bool {
	kills, exclude, only := false, "root", ""
	for _, file := range configFiles(root) {
		text, _ := fs.ReadFile(root, file) // a file that can't be read sets nothing
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if built, ok := strings.CutPrefix(line, "#KillUserProcesses="); ok && !strings.Contains(file, ".conf.d/") {
				kills = isYes(built)
			}
			key, value, _ := strings.Cut(line, "=")
			switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
			case "KillUserProcesses":
				kills = isYes(value)
			case "KillExcludeUsers":
				exclude = value
			case "KillOnlyUsers":
				only = value
			}
		}
	}
	if slices.Contains(strings.Fields(exclude), name) || only != "" && !slices.Contains(strings.Fields(only), name) {
		return false
	}
	return kills
}

// configFiles returns the configuration files in the order in which they apply: one main
// file, then the drop-ins by name. A drop-in in /etc replaces one of the same name in /run,
// and that one replaces one in /usr/lib.
func configFiles(root fs.FS) []string {
	var files []string
	for _, dir := range []string{"etc", "run", "usr/lib"} {
		if file := path.Join(dir, "systemd/logind.conf"); exists(root, file) {
			files = append(files, file)
			break
		}
	}
	byName := map[string]string{}
	for _, dir := range []string{"usr/lib", "run", "etc"} {
		found, _ := fs.Glob(root, path.Join(dir, "systemd/logind.conf.d/*.conf"))
		for _, file := range found {
			byName[path.Base(file)] = file
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		files = append(files, byName[name])
	}
	return files
}

func exists(root fs.FS, file string) bool {
	_, err := fs.Stat(root, file)
	return err == nil
}

func isYes(value string) bool {
	return slices.Contains([]string{"yes", "y", "true", "t", "on", "1"}, strings.ToLower(strings.TrimSpace(value)))
}

// Host returns the file system of the host.
func Host() fs.FS { return os.DirFS("/") }

// User returns the name of this process's user; "" if not known.
func User() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}
