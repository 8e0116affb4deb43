package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

// txn is one locked operation on a share. It opens and checks its descriptors anew each
// time, and closes them at its end.
type txn struct {
	*Share
	root   dir // the share's own directory
	auth   dir
	lockFD int
	owned  bool // auth's owner and mode are as they should be

	warnings []error // see warn
}

// locked runs f with the share open and locked.
func (s *Share) locked(ctx context.Context, f func(*txn) error) error {
	t, err := s.open()
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.lock(ctx); err != nil {
		return err
	}
	return f(t)
}

// open opens and checks the share's directories and its lock file.
func (s *Share) open() (*txn, error) {
	t, err := s.openRoot()
	if err != nil {
		return nil, err
	}
	if err := t.openAuth(); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// openRoot opens the share's own directory and the lock file, but not auth.
func (s *Share) openRoot() (*txn, error) {
	t := &txn{Share: s, root: dir{fd: -1}, auth: dir{fd: -1}, lockFD: -1}
	if err := t.openLock(); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// openLock opens the share's own directory, checks it, and opens the lock file. It makes
// a missing lock file: the share is half-made then.
func (t *txn) openLock() (err error) {
	if t.root, err = openDir(t.path); err != nil {
		return err
	}
	st, err := t.root.stat()
	if err != nil {
		return err
	}
	if err := t.checkOwner(t.root, st, 0o077, keep); err != nil {
		return err
	}
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	t.lockFD, err = t.root.open(layout.Lock, flags, privateFile)
	if errors.Is(err, unix.EACCES) { // an umask took the owner's own rights
		if err = t.root.chmodPath(layout.Lock, privateFile); err == nil {
			t.lockFD, err = t.root.open(layout.Lock, flags, privateFile)
		}
	}
	return err
}

func (t *txn) openAuth() (err error) {
	if t.auth, err = t.root.openDir(layout.Auth); err != nil {
		return err
	}
	st, err := t.auth.stat()
	if err != nil {
		return err
	}
	t.owned = t.authOwner().matches(st)
	return t.checkOwner(t.auth, st, 0o022, t.authOwner().uid)
}

// checkOwner refuses a directory that belongs to neither this user nor other, and one
// whose mode has a forbidden bit.
func (t *txn) checkOwner(d dir, st unix.Stat_t, forbidden uint32, other int) error {
	if st.Uid != uint32(os.Geteuid()) && (other == keep || st.Uid != uint32(other)) {
		return &Error{Op: "open", Path: d.path, Err: fmt.Errorf("%w (uid %d)", ErrOwner, st.Uid)}
	}
	if st.Mode&forbidden != 0 {
		return &Error{Op: "open", Path: d.path, Err: fmt.Errorf("%w (mode %04o)", ErrMode, st.Mode&0o7777)}
	}
	return nil
}

// Pauses before a lock that another writer holds is tried again.
const (
	firstPause = 500 * time.Microsecond
	lastPause  = 20 * time.Millisecond
)

// lock waits until no other writer is in the share, or ctx is done. If the share was
// removed meanwhile, the error is fs.ErrNotExist.
func (t *txn) lock(ctx context.Context) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := retry(func() error { return unix.Flock(t.lockFD, unix.LOCK_EX|unix.LOCK_NB) })
		if err == nil {
			break
		}
		if err != unix.EWOULDBLOCK {
			return &Error{Op: "lock", Path: t.path, Err: err}
		}
		select {
		case <-ctx.Done():
			return &Error{Op: "lock", Path: t.path, Err: ctx.Err()}
		case <-time.After(pause):
		}
	}
	if err := t.checkLock(); err != nil {
		return &Error{Op: "lock", Path: t.path, Err: err}
	}
	return nil
}

// checkLock checks whether the locked file is still the share's, and completes a new
// one.
func (t *txn) checkLock() error {
	var st unix.Stat_t
	if err := unix.Fstat(t.lockFD, &st); err != nil {
		return err
	}
	if st.Nlink == 0 {
		return fs.ErrNotExist
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.EINVAL
	}
	if st.Mode != unix.S_IFREG|privateFile {
		if err := unix.Fchmod(t.lockFD, privateFile); err != nil {
			return err
		}
	}
	if st.Size == 0 {
		return t.noteNumber(0)
	}
	return nil
}

// close unlocks explicitly: a child between fork and exec has a copy of the descriptor,
// which would keep the lock.
func (t *txn) close() {
	if t.lockFD >= 0 {
		_ = unix.Flock(t.lockFD, unix.LOCK_UN)
		unix.Close(t.lockFD)
	}
	t.auth.close()
	t.root.close()
}

// The lock file holds the highest number that was ever begun. Its width is fixed, so
// that a full disk does not prevent its being overwritten. Thanks to it the number of a
// generation that was removed uncommitted is not used again: a guest may still have that
// name in its cache.
const noteForm = "%020d\n"

func (t *txn) usedNumber() uint64 {
	var buf [len("12345678901234567890")]byte
	n, err := unix.Pread(t.lockFD, buf[:], 0)
	if err != nil {
		return 0
	}
	used, err := strconv.ParseUint(strings.TrimSpace(string(buf[:n])), 10, 64)
	if err != nil || used > MaxGeneration {
		return 0 // empty, or torn by a power failure: the numbers in auth and the floor decide then
	}
	return used
}

func (t *txn) noteNumber(n uint64) error {
	if _, err := unix.Pwrite(t.lockFD, fmt.Appendf(nil, noteForm, n), 0); err != nil {
		return &Error{Op: "write", Path: t.path + "/" + layout.Lock, Err: err}
	}
	return nil
}

func isExist(err error) bool    { return errors.Is(err, fs.ErrExist) }
func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func isErrno(err error, n unix.Errno) bool { return errors.Is(err, n) }
