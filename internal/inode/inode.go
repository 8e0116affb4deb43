// Package inode tells one file or directory of this host from every other, whatever
// paths lead to it.
package inode

import (
	"io/fs"
	"syscall"
)

// ID identifies a file or directory for as long as it exists. The zero ID is of none.
// Its JSON is in records and in what a monitor is told.
type ID struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// Of identifies what is at path, at the end of symbolic links.
func Of(path string) (ID, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return ID{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return ID{uint64(st.Dev), st.Ino}, nil
}

// OfFile identifies what is open as fd.
func OfFile(fd int) (ID, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return ID{}, err
	}
	return ID{uint64(st.Dev), st.Ino}, nil
}
