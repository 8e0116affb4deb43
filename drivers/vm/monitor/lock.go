package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/plainfile"
)

// ErrAlive means that the sandbox has a monitor already.
var ErrAlive = errors.New("the sandbox has a monitor that lives")

// wholeFile is an open file description lock on a whole file. Every process that
// inherited the descriptor holds it, and it ends with the last of them.
func wholeFile(kind int16) *unix.Flock_t { return &unix.Flock_t{Type: kind} }

// Lock takes the monitor's lock of the sandbox whose directory is dir, for a
// monitor that is about to be started and inherits the file. It fails with
// ErrAlive if there is a monitor.
func Lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, wholeFile(unix.F_WRLCK))
	if err == nil {
		return f, f.Truncate(0) // the pid of the last monitor may belong to another process by now
	}
	f.Close()
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, ErrAlive
	}
	return nil, fmt.Errorf("lock %s: %w", LockFile, err)
}

// Alive reports whether the sandbox whose directory is dir has a monitor. It takes no
// lock, so it never hinders a monitor that starts.
func Alive(dir string) bool {
	f, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	lock := wholeFile(unix.F_WRLCK)
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, lock)
	return err == nil && lock.Type != unix.F_UNLCK
}

// writePID writes the monitor's pid into its locked file.
func writePID(lock *os.File) error {
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// PID returns the process id that the monitor of the sandbox in dir wrote down. It does
// not say whether that monitor lives: open the process, then ask Alive.
func PID(dir string) (int, error) {
	data, err := plainfile.Read(filepath.Join(dir, LockFile), maxFile)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}
