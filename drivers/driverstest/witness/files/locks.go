package files

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// twice opens a file two times.
func twice(dir string) (a, b *os.File, err error) {
	if a, err = os.Create(dir + "/f"); err != nil {
		return nil, nil, err
	}
	b, err = os.OpenFile(dir+"/f", os.O_RDWR, 0)
	return a, b, err
}

func flocks(dir string) error {
	a, b, err := twice(dir)
	if err != nil {
		return err
	}
	defer a.Close()
	defer b.Close()
	return first(
		func() error { return unix.Flock(int(a.Fd()), unix.LOCK_EX) },
		func() error {
			if err := unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
				return fmt.Errorf("locked twice: %v", err)
			}
			return nil
		},
		func() error { return unix.Flock(int(a.Fd()), unix.LOCK_UN) },
		func() error { return unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
}

func recordLocks(dir string) error {
	a, b, err := twice(dir)
	if err != nil {
		return err
	}
	defer a.Close()
	defer b.Close()
	lock := func(f *os.File, kind int16) error {
		return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Len: 10})
	}
	return first(
		func() error { return lock(a, unix.F_WRLCK) },
		func() error {
			if err := lock(b, unix.F_WRLCK); !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
				return fmt.Errorf("locked twice: %v", err)
			}
			return nil
		},
		func() error { return lock(a, unix.F_UNLCK) },
		func() error { return lock(b, unix.F_WRLCK) })
}
