package share

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Names on disk. Those that begin with ".." are reserved for the package.
const (
	lockName = "lock" // in the share's directory: flock'ed; see txn.noteNumber
	authName = "auth" // in the share's directory: what is mounted

	reserved   = ".."
	dataName   = "..data" // in auth: the link to the current generation
	newPrefix  = "..new-" // in auth: a link that is about to be renamed
	genPrefix  = "..gen-" // in auth: a generation's directory
	isPrefix   = "..is-"  // in auth: a generation's announcement
	wasPrefix  = "..was-" // in auth: the same, once the generation is no longer complete
	numberForm = "%08d"   // sorts by name up to 99,999,999; longer after that

	maxName = 255 // bytes; NAME_MAX of every file system we run on
)

// MaxGeneration is the largest number that JSON readers keep exact.
const MaxGeneration = 1<<53 - 1

// GenerationName is the name that ..data links to when n is current.
func GenerationName(n uint64) string { return fmt.Sprintf(genPrefix+numberForm, n) }

// AnnouncementName is the name that appears in auth/ after n was committed.
func AnnouncementName(n uint64) string { return fmt.Sprintf(isPrefix+numberForm, n) }

// newName is the name of a link that is about to be renamed. It is of one number,
// so that one that can't be removed is in nobody's way.
func newName(n uint64) string { return fmt.Sprintf(newPrefix+numberForm, n) }

// ParseGenerationName is the inverse of [GenerationName]. It accepts no other
// spelling of a number, so that a link's target is a name and nothing else.
func ParseGenerationName(name string) (n uint64, ok bool) {
	return parseNumber(name, genPrefix, GenerationName)
}

func parseAnnouncement(name string) (uint64, bool) {
	return parseNumber(name, isPrefix, AnnouncementName)
}

// retiredName is what an announcement is renamed to.
func retiredName(n uint64) string { return fmt.Sprintf(wasPrefix+numberForm, n) }

func parseRetired(name string) (uint64, bool) {
	return parseNumber(name, wasPrefix, retiredName)
}

func parseNumber(name, prefix string, format func(uint64) string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || n > MaxGeneration || format(n) != name {
		return 0, false
	}
	return n, true
}

// linkTarget is what the user-visible link of a published name points to.
func linkTarget(name string) string { return dataName + "/" + name }

// CheckName says whether name can be published: one path component of at
// most 255 bytes of printable UTF-8 that does not begin with "..". The error
// is an [Error] around [ErrName].
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
	case strings.HasPrefix(name, reserved):
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

// checkFiles validates what a build returned before anything is written.
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
