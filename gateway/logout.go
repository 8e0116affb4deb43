package gateway

import (
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path"
	"slices"
	"strings"
)

// logoutAdvice says what ends with the user's last session, and how to keep it;
// "" if nothing does, or if no systemd runs. root is the host's file system.
//
// Without lingering, logind ends the user's manager and the units below it. What
// was started from a session stays, unless KillUserProcesses is set.
func logoutAdvice(root fs.FS, uid int, name, supervisor string) string {
	if _, err := fs.Stat(root, "run/systemd/system"); err != nil || uid == 0 || lingers(root, name) {
		return ""
	}
	if supervisor != "systemd" && !killsProcesses(root, name) {
		return ""
	}
	return "the gateway and its VMs end when you log out, and no token is renewed then: loginctl enable-linger keeps them"
}

// lingers looks where logind notes it.
func lingers(root fs.FS, name string) bool {
	if name == "" || strings.Contains(name, "/") {
		return false
	}
	_, err := fs.Stat(root, path.Join("var/lib/systemd/linger", name))
	return err == nil
}

// killsProcesses reads logind's configuration: what is set last counts, and the
// line in a comment says how it was built.
func killsProcesses(root fs.FS, name string) bool {
	kills, exclude, only := false, "root", ""
	for _, file := range logindFiles(root) {
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

// logindFiles are in the order in which they count: one main file, then drop-ins
// by name, one in /etc in place of one of that name in /run or /usr/lib.
func logindFiles(root fs.FS) []string {
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

// hostRoot is the host's file system.
func hostRoot() fs.FS { return os.DirFS("/") }

// userName is this process's user, as logind knows it; "" if that can't be known.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}
