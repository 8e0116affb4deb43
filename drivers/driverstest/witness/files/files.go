// Package files does with files what programs do. What works on a disk has to work in what a
// sandbox may write to.
package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// deed is something that programs do with files.
type deed struct {
	name string
	do   func(dir string) error // in an empty directory
}

var deeds = []deed{
	{"write and read", writeAndRead},
	{"append", appends},
	{"rename over a file", renameOver},
	{"rename into another directory", renameAcross},
	{"exchange two files", exchange},
	{"rename without replacing", renameNoReplace},
	{"rename a directory that is not empty", renameTree},
	{"remove a file that is open", removeOpen},
	{"remove a directory", removeDir},
	{"a symbolic link", symbolicLink},
	{"a hard link", hardLink},
	{"a hard link into another directory", hardLinkAcross},
	{"a new read-only file, as git's objects", object},
	{"a file without a name", nameless},
	{"fsync", syncs},
	{"flock", flocks},
	{"a record lock", recordLocks},
	{"map shared and write", mapShared},
	{"truncate and grow", truncates},
	{"a sparse file", sparse},
	{"allocate and punch a hole", holes},
	{"copy by the kernel", copyRange},
	{"chmod", modes},
	{"chown", owners},
	{"set times", times},
	{"an attribute of the user's", attribute},
	{"watch by inotify", watches},
	{"a name of 255 bytes", longName},
	{"a fifo", fifo},
	{"a local socket", localSocket},
	{"a tree of 300 files", manyFiles},
	{"run a program", runsProgram},
	{"a file with the set-user-id bit", setUser},
	{"a directory with the set-group-id bit", setGroup},
	{"a device node", deviceNode},
	{"a file with capabilities", fileCapability},
}

// Run does everything in a directory of its own, one line each: "NAME: ok" or why not.
func Run(dir string) {
	for i, d := range deeds {
		own := filepath.Join(dir, fmt.Sprint(i))
		err := os.Mkdir(own, 0o755)
		if err == nil {
			err = d.do(own)
		}
		if err = errors.Join(err, os.RemoveAll(own)); err != nil {
			fmt.Printf("%s: %s\n", d.name, strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		fmt.Printf("%s: ok\n", d.name)
	}
}

func put(name, text string) error { return os.WriteFile(name, []byte(text), 0o644) }

func has(name, want string) error {
	got, err := os.ReadFile(name)
	if err == nil && string(got) != want {
		err = fmt.Errorf("%.40q is in it, not %.40q", got, want)
	}
	return err
}

func absent(name string) error {
	if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is there: %v", filepath.Base(name), err)
	}
	return nil
}

// first returns the first error of steps that depend on each other.
func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
