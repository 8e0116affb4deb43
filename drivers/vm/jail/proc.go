package jail

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A jail's /proc is an ordinary directory with only what file servers need. It has links
// to the process's own entries, in a proc file system that has nothing but processes. It
// also has two files with numbers that they insist on reading. The real /proc would let
// root read /proc/sys even without a capability, and write to it if the mount were not
// read-only.
const ownProcesses = "/.proc"

var (
	procLinks   = []string{"self", "thread-self"}
	procNumbers = []string{"/proc/sys/fs/file-max", "/proc/sys/fs/nr_open"}
)

func cloneProc() ([]clone, error) {
	fd, err := newMount("proc",
		unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC,
		"subset=pid", "hidepid=invisible")
	if err != nil {
		return nil, err
	}
	clones := []clone{{fd: fd, target: ownProcesses, dir: true, rights: readDir, label: "ro proc"}}
	for _, name := range procNumbers {
		c, err := cloneBind(Bind{Source: name, Target: name})
		if err != nil {
			return nil, fmt.Errorf("take %s into the jail: %w", name, err)
		}
		clones = append(clones, c)
	}
	return clones, nil
}

func linkProc(tree *os.Root) error {
	for _, name := range procLinks {
		if err := tree.Symlink(ownProcesses+"/"+name, "proc/"+name); err != nil {
			return err
		}
	}
	return nil
}
