// Package plainfile opens files in whose place anything may stand: a FIFO, whose
// opening waits for a writer that never comes, a device, whose opening does
// something, or a sparse file of a terabyte.
//
// What is promised: only a regular file is read or written, nothing is waited for,
// and no more is read than was asked for. Symbolic links are followed, unless the
// flags say otherwise: what they lead to is judged.
//
// What is not: that the file is the one that the name had a moment before, or that
// its content stays the same. It is looked at by name first, so that a device is left
// alone, and judged once more when it is open.
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
	// ErrIrregular says that there is something else than a regular file.
	ErrIrregular = errors.New("not a regular file")
	// ErrTooLarge says that the file has more bytes than were asked for.
	ErrTooLarge = errors.New("too large")
)

// calm is what keeps an open from waiting, and from taking a terminal.
const calm = unix.O_NONBLOCK | unix.O_NOCTTY

// Open is os.OpenFile for regular files alone; others are ErrIrregular.
func Open(path string, flags int, mode fs.FileMode) (*os.File, error) {
	return open(path, os.Stat, func() (*os.File, error) { return os.OpenFile(path, flags|calm, mode) })
}

// Read reads a file of at most so many bytes. A larger one is ErrTooLarge.
func Read(path string, most int64) ([]byte, error) {
	f, err := Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return readAll(f, path, most)
}

// ReadIn is Read of a file that lies in root, however its links lead.
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
	f, err := openFile() // also tells why it can't be looked at
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

// readAll closes the file.
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
	if int64(len(data)) > most { // it grew
		return nil, fmt.Errorf("%s is %w: over %d bytes", name, ErrTooLarge, most)
	}
	return data, nil
}
