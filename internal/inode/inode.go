// Package inode identifies files and directories of this host, whatever paths lead to them.
package inode

import (
	"io/fs"
	"syscall"
)

// ID identifies a file or directory for as long as it exists. The zero ID identifies none.
// Its JSON is in records and in monitors' configurations.
type ID struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// Of identifies the file or directory at path. It follows symbolic links.
func Of(path string) (ID, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return ID{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return ID{uint64(st.Dev), st.Ino}, nil
}

// OfFile identifies the open file or directory fd.
func OfFile(fd int) (ID, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return ID{}, err
	}
	return ID{uint64(st.Dev), st.Ino}, nil
}
