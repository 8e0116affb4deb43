package peer

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// viaDir returns a short path for a socket in dir. A socket's address has room for 107
// bytes, and dir's own path may be longer. The short path is valid until done is called.
func viaDir(dir, name string) (path string, done func(), err error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, name), func() { unix.Close(fd) }, nil
}

// ListenIn makes the socket dir/name for this user only. It replaces one that an earlier
// process left. The path may be of any length. The name stays when the listener is closed.
func ListenIn(dir, name string) (*net.UnixListener, error) {
	path, done, err := viaDir(dir, name)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return l, os.Chmod(path, 0o600)
}

// DialIn is Dial for the socket dir/name, whose path may be of any length.
func DialIn(ctx context.Context, dir, name string) (*net.UnixConn, error) {
	path, done, err := viaDir(dir, name)
	if err != nil {
		return nil, err
	}
	defer done()
	return Dial(ctx, path)
}
