package docker

import (
	"path/filepath"
	"strings"
)

// snapHint says what to do about a directory that Docker from snap does not see. Such
// an engine is known by where it keeps its data. It sees what is not hidden in a home,
// and what is mounted for people. Else the hint is "".
func snapHint(dataRoot, home, path string) string {
	if !strings.HasPrefix(dataRoot, "/var/snap/") || snapSees(home, path) {
		return ""
	}
	return "Docker from snap does not see hidden directories of a home, /tmp, /run and /var: " +
		"set OPENSHELL_STATE_DIR and OPENSHELL_RUNTIME_DIR " +
		"to directories such as " + filepath.Join(home, "openshell-vm") + " and openshell-vm gateway restart, " +
		"or install Docker's own package"
}

func snapSees(home, path string) bool {
	for _, place := range []string{"/media", "/mnt", "/run/media"} {
		if strings.HasPrefix(path, place+"/") {
			return true
		}
	}
	rest, inside := strings.CutPrefix(path, strings.TrimSuffix(home, "/")+"/")
	if other, ok := strings.CutPrefix(path, "/home/"); !inside && ok {
		_, rest, inside = strings.Cut(other, "/")
	}
	return inside && !strings.HasPrefix(rest, ".")
}
