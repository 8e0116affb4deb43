package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/fault"
	"openshell-vm/internal/inode"
)

// OnTmpfs reports whether dir, or its nearest existing ancestor, is on tmpfs.
func OnTmpfs(dir string) bool {
	return FileSystem(dir) == "tmpfs"
}

// FileSystem names the type of the file system that path, or its nearest existing ancestor,
// is on.
func FileSystem(path string) string {
	var st unix.Statfs_t
	for unix.Statfs(path, &st) != nil && path != "/" {
		path = filepath.Dir(path)
	}
	switch st.Type {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	}
	return fmt.Sprintf("%#x", st.Type)
}

// PrivateDir makes dir if it is missing. It refuses one that is a symlink, that belongs to
// another user, or that others can open. Its errors are for users.
func PrivateDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return refuse(dir, err, "choose another place with "+api.EnvStateDir)
	}
	if err := os.Mkdir(dir, 0o700); err == nil {
		return os.Chmod(dir, 0o700) // a umask may have taken the owner's own rights
	} else if !errors.Is(err, fs.ErrExist) {
		return refuse(dir, err, "choose another place with "+api.EnvStateDir)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return refuse(dir, err, "choose another place with "+api.EnvStateDir)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return refuse(dir, errors.New("it is a symbolic link"), "replace it by a directory, or name its target with "+api.EnvStateDir)
	case !info.IsDir():
		return refuse(dir, errors.New("it is not a directory"), "move it away")
	case int(owner) != os.Geteuid():
		return refuse(dir, fmt.Errorf("it belongs to user %d, not to user %d", owner, os.Geteuid()),
			"run as its owner, or choose another place with "+api.EnvStateDir)
	case info.Mode().Perm()&0o077 != 0:
		return refuse(dir, fmt.Errorf("other users can open it (mode %04o)", info.Mode().Perm()),
			"if nobody else has been in it: chmod 700 "+dir)
	}
	return nil
}

func refuse(dir string, err error, hint string) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return &fault.Error{Op: "use the directory " + dir, Err: err, Hint: hint}
}

// MakeDir is PrivateDir. It also makes the name of a new directory durable.
func MakeDir(dir string) error {
	_, before := os.Lstat(dir)
	if err := PrivateDir(dir); err != nil {
		return err
	}
	if before == nil || OnTmpfs(dir) {
		return nil
	}
	return syncDir(filepath.Dir(dir))
}

// Inode identifies the directory that a sandbox has mounted. Its path may have changed since.
type Inode = inode.ID

// InodeOf identifies the directory at path.
func InodeOf(path string) (Inode, error) { return inode.Of(path) }

func sameFile(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(x, y)
}
