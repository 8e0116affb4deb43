// Package plainfile opens files whose names may lead to anything. Opening a FIFO may wait
// for a writer that never comes, opening a device may do something, and a file may be a
// terabyte of holes.
//
// What is promised: only regular files are opened, nothing waits, and no more is read than
// the caller allows. Symbolic links are followed, unless the flags say otherwise, and what
// they lead to is checked.
//
// What is not promised: that the file is still the one that the name had a moment before, or
// that its content stays the same. The file is checked by name first, so that a device is
// not even opened, and once more when it is open.
package plainfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

var (
	// ErrIrregular means that the name leads to something other than a regular file.
	ErrIrregular = errors.New("not a regular file")
	// ErrTooLarge means that the file has more bytes than the caller allows.
	ErrTooLarge = errors.New("too large")
)

// calm keeps an open from waiting, and from taking a controlling terminal.
const calm = unix.O_NONBLOCK | unix.O_NOCTTY

// Open is os.OpenFile for regular files. For others the error is ErrIrregular.
func Open(path string, flags int, mode fs.FileMode) (*os.File, error) {
	return open(path, os.Stat, func() (*os.File, error) { return os.OpenFile(path, flags|calm, mode) })
}

// Read reads a file of at most that many bytes. For a larger one the error is ErrTooLarge.
func Read(path string, most int64) ([]byte, error) {
	f, err := Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return readAll(f, path, most)
}

// ReadIn is Read of a file in root. Links can't lead out of root.
func ReadIn(root *os.Root, name string, most int64) ([]byte, error) {
	f, err := open(name, root.Stat, func() (*os.File, error) { return root.OpenFile(name, os.O_RDONLY|calm, 0) })
	if err != nil {
		return nil, err
	}
	return readAll(f, name, most)
}

func open(name string, stat func(string) (fs.FileInfo, error), openFile func() (*os.File, error)) (*os.File, error) {
	if info, err := stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, irregular(name)
	}
	f, err := openFile() // if stat failed, this error says why
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = irregular(name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func irregular(name string) error { return fmt.Errorf("%s is %w", name, ErrIrregular) }

// readAll reads the file and closes it.
func readAll(f *os.File, name string, most int64) ([]byte, error) {
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > most { // before any of it takes up memory
		return nil, fmt.Errorf("%s is %w: %d bytes", name, ErrTooLarge, info.Size())
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most { // the file has grown
		return nil, fmt.Errorf("%s is %w: over %d bytes", name, ErrTooLarge, most)
	}
	return data, nil
}
