// Package peer finds out who is at the other end of a unix socket, from either end. A path
// alone proves nothing: if a socket's directory was cleaned away, as happens in /tmp,
// anybody can make one of that name.
package peer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrForeign means that a socket, or the process that listens on it, is another user's.
var ErrForeign = errors.New("it is not this user's")

// Of returns the credentials of the process that connected, or that listens.
func Of(c syscall.Conn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, credErr
}

// Trusted reports whether a user may be at the other end: this user, root, or one of also.
func Trusted(uid uint32, also ...uint32) bool {
	return uid == 0 || int(uid) == os.Geteuid() || slices.Contains(also, uid)
}

// Dial connects to the socket at path. The error is ErrForeign if the socket's directory or
// the process that listens there belongs to neither this user, root, nor one of also.
func Dial(ctx context.Context, path string, also ...uint32) (*net.UnixConn, error) {
	if err := CheckDir(filepath.Dir(path), also...); err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	unixConn := conn.(*net.UnixConn)
	if err := Check(unixConn, also...); err != nil {
		conn.Close()
		return nil, err
	}
	return unixConn, nil
}

// Check is Dial's check of the other process, for a connection that is made already.
func Check(c syscall.Conn, also ...uint32) error {
	cred, err := Of(c)
	if err != nil {
		return err
	}
	if !Trusted(cred.Uid, also...) {
		return fmt.Errorf("%w: process %d of user %d listens", ErrForeign, cred.Pid, cred.Uid)
	}
	return nil
}

// CheckDir refuses a directory in which another user could make a socket.
func CheckDir(dir string, also ...uint32) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case !info.IsDir():
		return &fs.PathError{Op: "stat", Path: dir, Err: syscall.ENOTDIR}
	case !Trusted(owner, also...):
		return fmt.Errorf("%w: %s belongs to user %d", ErrForeign, dir, owner)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%w: others can write to %s (mode %04o)", ErrForeign, dir, info.Mode().Perm())
	}
	return nil
}
