// Package mounts reads the kernel's tables of mounts.
package mounts

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"openshell-vm/internal/procfs"
)

// Entry is one mount as a process sees it.
type Entry struct {
	ID     int
	Device string // MAJOR:MINOR
	Root   string // the mount's root in its file system; ends in "//deleted" if it was removed
	Point  string // where it is mounted, from the process's own root
	Type   string // of the file system

	Options string // of the file system, separated by commas; those of a cgroup hierarchy name its controllers
}

// Self is this process's table of mounts.
const Self = "/proc/self/mountinfo"

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Read reads a mountinfo file, in its order: later mounts lie over earlier ones. It leaves
// out lines that it does not understand.
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
	if err != nil {
		return e, false
	}
	e.ID, e.Device, e.Root, e.Point, e.Type = id, f[2], unescape.Replace(f[3]), unescape.Replace(f[4]), rest[0]
	if len(rest) > 2 {
		e.Options = rest[2]
	}
	return e, true
}

// Below reports whether path lies below dir and is not dir itself. Both must be clean.
func Below(path, dir string) bool {
	return path != dir && strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// Within reports whether path is dir or lies below it. Both must be clean.
func Within(path, dir string) bool { return path == dir || Below(path, dir) }

// Locate returns on which device a directory lies, and where in its file system. A mount of
// the directory would have these as Device and Root.
func Locate(dir string) (device, root string, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	self := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	at, err := os.Readlink(self)
	if err != nil {
		return "", "", err
	}
	id, err := IDOf(int(f.Fd()))
	if err != nil {
		return "", "", err
	}
	table, err := Read(Self)
	if err != nil {
		return "", "", err
	}
	for _, e := range table {
		if e.ID == id {
			rel, err := filepath.Rel(e.Point, at)
			return e.Device, filepath.Join(e.Root, rel), err
		}
	}
	return "", "", fmt.Errorf("the mount of %s is not in %s", dir, Self)
}

// IDOf returns the id of the mount that an open file is on.
func IDOf(fd int) (int, error) {
	id, err := procfs.Field(procfs.Path(0, "fdinfo/"+strconv.Itoa(fd)), "mnt_id")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(id)
}
