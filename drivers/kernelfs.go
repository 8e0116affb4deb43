package drivers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/mounts"
)

// kernelTypes are file systems through which the kernel shows itself and its processes.
// They hold no user's files. Read-only mounts of them are dangerous too: /proc/PID/root
// leads to any directory of the host, past every mask. A sandbox has its own instances of
// those that it needs.
var kernelTypes = []string{
	"proc", "sysfs", "devtmpfs", "devpts", "debugfs", "tracefs", "securityfs", "configfs", "cgroup", "cgroup2", "bpf",
	"pstore", "efivarfs", "selinuxfs", "smackfs", "binfmt_misc", "mqueue", "fusectl", "rpc_pipefs", "nfsd", "resctrl",
}

// openSource opens a directory with O_PATH. It refuses a directory on such a file system,
// and a path through /proc or through a magic link: such a path does not tell where it
// ends. The caller closes the descriptor.
func openSource(source string, table []mounts.Entry) (int, error) {
	refuse := func(why string) (int, error) {
		return -1, &Error{Op: fmt.Sprintf("expose %s", source), Err: errors.New(why),
			Hint: "a sandbox has a /proc, /sys and /dev of its own; mount a directory with files"}
	}
	if mounts.Within(source, "/proc") {
		return refuse("it lies in /proc, whose links lead to every directory of this host")
	}
	fd, err := openPlain(source)
	if errors.Is(err, unix.ELOOP) {
		return refuse("its path leads through a link of /proc")
	} else if err != nil {
		return -1, &os.PathError{Op: "open", Path: source, Err: err}
	}
	if kind := typeOf(fd, table); slices.Contains(kernelTypes, kind) {
		unix.Close(fd)
		return refuse(fmt.Sprintf("it lies on the kernel's own file system %s, which shows the host and not files", kind))
	}
	return fd, nil
}

// kernelFSBelow returns the mount points of such file systems below a directory, relative
// to it. A mount point that can't be opened is included.
func kernelFSBelow(real string, table []mounts.Entry) (below []string) {
	for _, m := range table {
		if !slices.Contains(kernelTypes, m.Type) || !mounts.Below(m.Point, real) {
			continue
		}
		fd, err := openPlain(m.Point)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue // below another mount, or a single file, which has no links
		}
		if err == nil {
			kind := typeOf(fd, table)
			unix.Close(fd)
			if !slices.Contains(kernelTypes, kind) {
				continue // another mount lies over it
			}
		}
		if rel, err := filepath.Rel(real, m.Point); err == nil {
			below = append(below, rel)
		}
	}
	return below
}

// openPlain opens a directory with O_PATH. It follows no magic links, except on kernels
// before 5.6 and where openat2 is forbidden.
func openPlain(path string) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return unix.Open(path, flags, 0)
	}
	return fd, err
}

// typeOf returns the file system type of an open directory; "" if its mount is not in the
// table.
func typeOf(fd int, table []mounts.Entry) string {
	id, err := mounts.IDOf(fd)
	i := slices.IndexFunc(table, func(m mounts.Entry) bool { return m.ID == id })
	if err != nil || i < 0 {
		return ""
	}
	return table[i].Type
}
