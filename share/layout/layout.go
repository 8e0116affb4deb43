// Package layout is what a share looks like on disk: the names that package share
// writes, and that everybody else reads who looks at one, the init in a guest too. A
// gateway and the shares, monitors and guests of older ones go on together, so a name
// that is here stays.
//
//	lock             flock'ed by the one who writes
//	auth/            what a sandbox is shown
//	    sandbox.jwt  → ..data/sandbox.jwt, and so on: the names that users know
//	    ..data       → ..gen-00000042, the current generation
//	    ..gen-00000042/
//	    ..is-00000042   made after ..data was renamed
//
// Readers may rely on ..data: it leads to a whole generation at any time. The names
// with a number come and go.
package layout

import (
	"fmt"
	"strconv"
	"strings"
)

// In a share's directory.
const (
	Lock = "lock" // its content is the largest number that may have been used
	Auth = "auth" // what is mounted
)

// In Auth.
const (
	Reserved = ".."     // begins every name that is not a published file's
	Data     = "..data" // the link to the current generation
)

const (
	newPrefix  = "..new-" // a link that is about to be renamed
	genPrefix  = "..gen-" // a generation's directory
	isPrefix   = "..is-"  // a generation's announcement
	wasPrefix  = "..was-" // the same, once the generation is no longer complete
	numberForm = "%08d"   // sorts by name up to 99,999,999; longer after that
)

// MaxGeneration is the largest number that JSON readers keep exact.
const MaxGeneration = 1<<53 - 1

// Generation is the name that Data links to when n is current.
func Generation(n uint64) string { return fmt.Sprintf(genPrefix+numberForm, n) }

// Announcement is the name that appears after n was committed.
func Announcement(n uint64) string { return fmt.Sprintf(isPrefix+numberForm, n) }

// Retired is what an announcement is renamed to.
func Retired(n uint64) string { return fmt.Sprintf(wasPrefix+numberForm, n) }

// New is the name of a link that is about to be renamed. It is of one number, so that
// one that can't be removed is in nobody's way.
func New(n uint64) string { return fmt.Sprintf(newPrefix+numberForm, n) }

// Link is what the user-visible link of a published name points to.
func Link(name string) string { return Data + "/" + name }

// ParseGeneration is the inverse of [Generation]. It accepts no other spelling of a
// number, so that a link's target is a name and nothing else.
func ParseGeneration(name string) (n uint64, ok bool) {
	return parse(name, genPrefix, Generation)
}

// ParseAnnouncement is the inverse of [Announcement], and as strict.
func ParseAnnouncement(name string) (n uint64, ok bool) {
	return parse(name, isPrefix, Announcement)
}

// ParseRetired is the inverse of [Retired], and as strict.
func ParseRetired(name string) (n uint64, ok bool) {
	return parse(name, wasPrefix, Retired)
}

func parse(name, prefix string, format func(uint64) string) (uint64, bool) {
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
