// Package mounts reads the kernel's tables of mounts.
package mounts

import (
	"os"
	"strconv"
	"strings"
)

// Entry is one mount as a process sees it.
type Entry struct {
	ID     int
	Device string // MAJOR:MINOR
	Root   string // of the mount, within its file system; ends in "//deleted" when it was removed
	Point  string // where it is mounted, from the process's own root
	Type   string // of the file system
}

// Self is the table of this process.
const Self = "/proc/self/mountinfo"

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Read reads a mountinfo file, in its order: later entries lie over earlier
// ones. Lines that it does not understand are left out.
func Read(path string) ([]Entry, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for line := range strings.Lines(string(data)) {
		if e, ok := parse(line); ok {
			all = append(all, e)
		}
	}
	return all, nil
}

// parse reads "36 35 98:0 /root /point options fields… - type source options".
func parse(line string) (e Entry, ok bool) {
	before, after, ok := strings.Cut(line, " - ")
	f, rest := strings.Fields(before), strings.Fields(after)
	if !ok || len(f) < 6 || len(rest) < 1 {
		return e, false
	}
	id, err := strconv.Atoi(f[0])
	return Entry{ID: id, Device: f[2], Root: unescape.Replace(f[3]), Point: unescape.Replace(f[4]), Type: rest[0]}, err == nil
}

// Below says whether path lies strictly below dir, both being clean.
func Below(path, dir string) bool {
	return path != dir && strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
