package share

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"openshell-vm/share/layout"
)

// maxName is NAME_MAX, in bytes, of every file system that we run on.
const maxName = 255

// MaxGeneration is the largest number that JSON readers keep exact.
const MaxGeneration = layout.MaxGeneration

// CheckName checks whether name can be published. It is a path of at most 8 components, with
// one slash between two of them. Each is at most 255 bytes of printable UTF-8, and does not
// begin with "..". The error is an [Error] around [ErrName].
func CheckName(name string) error {
	if reason := faultOf(name); reason != "" {
		return &Error{Op: "check name", Path: strconv.Quote(name), Err: fmt.Errorf("%w: %s", ErrName, reason)}
	}
	return nil
}

func faultOf(name string) string {
	switch components := strings.Split(name, "/"); {
	case name == "":
		return "it is empty"
	case strings.HasPrefix(name, "/"):
		return "it begins with a slash"
	case len(components) > maxDepth:
		return fmt.Sprintf("it has more than %d components", maxDepth)
	default:
		for _, c := range components {
			if reason := faultIn(c); reason != "" {
				return reason
			}
		}
	}
	return ""
}

// faultIn is what is wrong with one component; "" if nothing is.
func faultIn(name string) string {
	switch {
	case name == "":
		return "it has an empty component"
	case len(name) > maxName:
		return fmt.Sprintf("it is longer than %d bytes", maxName)
	case name == ".":
		return `"." names a directory itself`
	case strings.HasPrefix(name, layout.Reserved):
		return `names that begin with ".." are reserved`
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "it holds a character that can't be printed"
	}
	return ""
}

// Clash reports whether two names can't be published together: they are the same, or one of
// them is a directory of the other.
func Clash(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}

// checkFiles validates what build returned, before anything is written.
func checkFiles(files []File) error {
	seen := make(map[string]bool, len(files))
	for _, f := range files {
		if err := CheckName(f.Name); err != nil {
			return err
		}
		if f.Mode&^fs.ModePerm != 0 || f.Mode&0o022 != 0 {
			return fmt.Errorf("%w: %q with mode %04o", ErrMode, f.Name, uint32(f.Mode))
		}
		if seen[f.Name] {
			return fmt.Errorf("%w: %q is there twice", ErrName, f.Name)
		}
		seen[f.Name] = true
	}
	for _, dir := range dirsOf(files) {
		if seen[dir] {
			return fmt.Errorf("%w: %q is a file and a directory", ErrName, dir)
		}
	}
	return nil
}
