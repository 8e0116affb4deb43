// Package layout is what a share looks like on disk. Package share writes these names,
// and all others who look at a share read them, the guest init too. Shares, monitors and
// guests of older versions go on under a new gateway, so these names never change.
//
//	lock             flock'ed by a writer
//	auth/            what a sandbox sees
//	    sandbox.jwt  → ..data/sandbox.jwt; so has each name that users know
//	    ..data       → ..gen-00000042, the current generation
//	    ..gen-00000042/
//	    ..is-00000042   made after ..data leads to 42
//
// Readers may rely on ..data: it leads to a whole generation at any time. The names with
// a number come and go.
package layout

import (
	"fmt"
	"strconv"
	"strings"
)

// In a share's directory.
const (
	Lock = "lock" // contains the largest generation number that may have been used
	Auth = "auth" // the directory that is mounted
)

// In Auth.
const (
	Reserved = ".."     // begins every name except those of published files
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

// Generation returns the name that Data links to when n is current.
func Generation(n uint64) string { return fmt.Sprintf(genPrefix+numberForm, n) }

// Announcement returns the name that appears after n was committed.
func Announcement(n uint64) string { return fmt.Sprintf(isPrefix+numberForm, n) }

// Retired returns the name that an announcement gets when n is no longer complete.
func Retired(n uint64) string { return fmt.Sprintf(wasPrefix+numberForm, n) }

// New returns the name of a link that is about to be renamed. It has a number, so that a
// link that can't be removed is in nobody's way.
func New(n uint64) string { return fmt.Sprintf(newPrefix+numberForm, n) }

// Link returns the target of a published name's user-visible link.
func Link(name string) string { return Data + "/" + name }

// ParseGeneration is the inverse of [Generation]. It accepts no other spelling of a
// number, so a link's target that it accepts is only a name.
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
