package qemu

import (
	"context"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/peer"
)

// connectedPair makes vhost-user's two ends: a listening socket, and a connection that
// waits in its queue. The socket has no name any more, so no other process can connect.
// The caller closes both files.
func connectedPair(dir string) (listening, connected *os.File, err error) {
	const name = "vhost-user.sock"
	l, err := peer.ListenIn(dir, name)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	c, err := peer.DialIn(context.Background(), dir, name)
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

// blocking puts a file that another program will inherit into blocking mode.
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
