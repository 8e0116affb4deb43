package monitor

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/peer"
)

// viaDir gives a short name for a socket in dir, however long dir's path is:
// a socket's address has room for 107 bytes. The name is good until done.
func viaDir(dir, name string) (path string, done func(), err error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, name), func() { unix.Close(fd) }, nil
}

// listen makes the socket dir/name for the owner of dir alone, in place of one
// that an earlier process left.
func listen(dir, name string) (*net.UnixListener, error) {
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

// dial connects to a socket that this user or root listens on.
func dial(dir, name string) (*net.UnixConn, error) {
	path, done, err := viaDir(dir, name)
	if err != nil {
		return nil, err
	}
	defer done()
	return peer.Dial(context.Background(), path)
}

// peerAllowed says whether the other end is this user or root.
func peerAllowed(c *net.UnixConn) bool { return peer.Check(c) == nil }

// connectedPair makes a socket that already listens, and a connection that
// waits in its queue: vhost-user's two ends, without a name that another
// process could connect to. The caller closes both files.
func connectedPair(dir string) (listening, connected *os.File, err error) {
	name := "vhost-user.sock"
	l, err := listen(dir, name)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	c, err := dial(dir, name)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		return nil, nil, err
	}
	if listening, err = blocking(l.File()); err != nil {
		return nil, nil, err
	}
	if connected, err = blocking(c.File()); err != nil {
		listening.Close()
		return nil, nil, err
	}
	return listening, connected, nil
}

// blocking takes O_NONBLOCK from a file that another program will inherit.
func blocking(f *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
