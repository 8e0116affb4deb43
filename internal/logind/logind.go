// Package logind tells what systemd's logind does when a user's last session ends.
//
// Without lingering, it ends the user's manager and the units below it, and removes
// the user's runtime directory. What was started from a session stays, unless
// KillUserProcesses is set. All functions read the host's files below a root, so
// that tests can give them others; none asks logind itself.
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

// Lingers says whether the user of that name is to be kept over their last logout.
func Lingers(root fs.FS, name string) bool {
	if name == "" || strings.Contains(name, "/") {
		return false
	}
	_, err := fs.Stat(root, path.Join("var/lib/systemd/linger", name))
	return err == nil
}

// Runs says whether systemd, and so logind, runs the host.
func Runs(root fs.FS) bool {
	_, err := fs.Stat(root, "run/systemd/system")
	return err == nil
}

// KillsProcesses says whether the processes of that user's sessions are killed at
// their end. It reads logind's configuration: what is set last counts, and the
// line in a comment says how it was built.
func KillsProcesses(root fs.FS, name string) bool {
	kills, exclude, only := false, "root", ""
	for _, file := range configFiles(root) {
		text, _ := fs.ReadFile(root, file) // what can't be read sets nothing
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

// configFiles are in the order in which they count: one main file, then drop-ins
// by name, one in /etc in place of one of that name in /run or /usr/lib.
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

// Host is the file system of the host.
func Host() fs.FS { return os.DirFS("/") }

// User is the name of this process's user; "" if it can't be known.
func User() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}
