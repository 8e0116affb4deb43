package container

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/internal/procfs"
)

// directoryAt is the directory at a path in the root of process pid. The error is
// os.ErrProcessDone if the process has ended.
func directoryAt(pid int, path string) (drivers.Directory, error) {
	root, err := unix.Open(procfs.Path(pid, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return drivers.Directory{}, os.ErrProcessDone // it could be opened a moment ago
	}
	defer unix.Close(root)
	fd, err := openIn(root, path)
	if err != nil {
		return drivers.Directory{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return drivers.Directory{}, err
	}
	return drivers.Directory{Device: uint64(st.Dev), Inode: st.Ino}, nil
}

// openIn opens a directory in a container's root. The container's own links
// must not lead out of it.
func openIn(root int, path string) (int, error) {
	return unix.Openat2(root, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// sight is what /proc shows of a container's share.
type sight struct {
	known    bool // it is this very directory; else nothing is known
	readOnly bool
}

// look compares what process pid has at the share's target with its source. The pid of
// a remote engine belongs to another process here, which shows something else.
func look(pid int, share drivers.Mount) (s sight) {
	if pid <= 0 {
		return s
	}
	root, err := unix.Open(procfs.Path(pid, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return s
	}
	defer unix.Close(root)
	fd, err := openIn(root, share.Target())
	if err != nil {
		return s
	}
	defer unix.Close(fd)
	var inside, outside unix.Stat_t
	var fs unix.Statfs_t
	if unix.Fstat(fd, &inside) != nil || unix.Stat(share.Source(), &outside) != nil || unix.Fstatfs(fd, &fs) != nil {
		return s
	}
	s.known = inside.Dev == outside.Dev && inside.Ino == outside.Ino
	s.readOnly = fs.Flags&unix.ST_RDONLY != 0
	return s
}

// readable refuses a share that only its owner may read, if the container's user
// namespace does not have that owner.
func readable(pid int, source string) error {
	var st unix.Stat_t
	if pid <= 0 || unix.Stat(source, &st) != nil || st.Mode&0o005 == 0o005 {
		return nil
	}
	data, err := os.ReadFile(procfs.Path(pid, "uid_map"))
	if err != nil || mapped(string(data), st.Uid) {
		return nil
	}
	return &drivers.Error{Op: "start the container",
		Err: fmt.Errorf("the share belongs to uid %d and only that may read it, and the container's user namespace does not have it",
			st.Uid),
		Hint: "let others read it (chmod o+rx " + source + "), or start the engine without userns-remap or --userns=auto"}
}

// mapped says whether a uid_map holds the host's uid.
func mapped(uidMap string, uid uint32) bool {
	for line := range strings.Lines(uidMap) {
		var inside, outside, count uint64
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 && uint64(uid) >= outside && uint64(uid) < outside+count {
			return true
		}
	}
	return false
}
