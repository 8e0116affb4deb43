package share

import (
	"fmt"
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

// CheckName checks whether name can be published. It has to be one path component of
// at most 255 bytes of printable UTF-8, and must not begin with "..". The error is an
// [Error] around [ErrName].
func CheckName(name string) error {
	if reason := faultOf(name); reason != "" {
		return &Error{Op: "check name", Path: strconv.Quote(name), Err: fmt.Errorf("%w: %s", ErrName, reason)}
	}
	return nil
}

func faultOf(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > maxName:
		return fmt.Sprintf("it is longer than %d bytes", maxName)
	case name == ".":
		return "it names the directory itself"
	case strings.HasPrefix(name, layout.Reserved):
		return `names that begin with ".." are reserved`
	case strings.Contains(name, "/"):
		return "it holds a slash"
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "it holds a character that can't be printed"
	}
	return ""
}

// checkFiles validates what build returned, before anything is written.
func checkFiles(files []File) error {
	if len(files) == 0 {
		return ErrEmpty
	}
	seen := make(map[string]bool, len(files))
	for _, f := range files {
		if err := CheckName(f.Name); err != nil {
			return err
		}
		if seen[f.Name] {
			return fmt.Errorf("%w: %q is there twice", ErrName, f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}
