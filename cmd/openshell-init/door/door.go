// Package door listens in a VM for programs that ask the gateway, and passes what they say on to
// the host. It knows nothing of what is said. The host gives a session for each connection, ahead
// of it: so what a guest can ask for at a time is the host's to bound.
package door

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/stream"
)

const (
	// ahead is how many sessions may wait for a connection.
	ahead = 16
	// atOnce is how many connections are looked at. Further ones wait in the kernel.
	atOnce = 64
	// silence is how long a program may connect and say nothing, as in a container.
	silence = 5 * time.Second
	// patience is how long a program may not take what it is answered, and how long it waits for a
	// session or an answer.
	patience = 30 * time.Second
)

// Door is the socket in a sandbox's root. The zero value refuses all sessions.
type Door struct {
	listener *net.UnixListener
	sessions chan *stream.Session
}

// Program takes the program that asks the gateway from the composed shares, as a mount that is
// attached nowhere yet. It returns -1 if there is none.
func Program(shares string) (int, error) {
	path := filepath.Join(shares, guest.DoorName, guest.DoorProgram)
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.ENOENT) {
		return -1, nil
	} else if err != nil {
		return -1, fmt.Errorf("take %s from the shares: %w", guest.DoorProgram, err)
	}
	attr := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		Attr_clr: unix.MOUNT_ATTR_NOEXEC,
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("make %s read-only: %w", guest.DoorProgram, err)
	}
	return fd, nil
}

// Mount makes dir in the sandbox's root and listens in it. program is from Program. It runs on a
// thread that is in the sandbox's root.
func Mount(dir string, program int) (Door, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Door{}, fmt.Errorf("make %s: %w", dir, err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "mode=0755,size=64k,nr_inodes=16"); err != nil {
		return Door{}, fmt.Errorf("mount %s: %w", dir, err)
	}
	if program >= 0 {
		if err := attach(program, filepath.Join(dir, guest.DoorProgram)); err != nil {
			return Door{}, err
		}
	}
	path := filepath.Join(dir, guest.DoorSocket)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		return Door{}, fmt.Errorf("listen for who asks the gateway: %w", err)
	}
	return Door{l, make(chan *stream.Session, ahead)}, nil
}

// attach mounts a file.
func attach(file int, at string) error {
	if err := os.WriteFile(at, nil, 0o555); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the mount point %s: %w", at, err)
	}
	if err := unix.MoveMount(file, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount at %s: %w", at, err)
	}
	return nil
}

// Take takes a session of the host's for a connection to come. It does not wait.
func (d Door) Take(s *stream.Session) {
	select {
	case d.sessions <- s:
	default: // also for the zero Door
		s.Abort("there is no socket")
		s.Close()
	}
}

// Serve accepts connections until the guest ends. A session is taken for one only when its program
// has written: who is silent holds up nobody.
func (d Door) Serve() {
	if d.listener == nil {
		return
	}
	places := make(chan struct{}, atOnce)
	for {
		places <- struct{}{}
		conn, err := d.accept()
		if err != nil {
			log.Printf("nobody can ask the gateway any more: %v", err)
			return
		}
		go func() {
			defer func() { conn.Close(); <-places }()
			d.serve(conn)
		}()
	}
}

// accept waits out what passes, such as a lack of descriptors.
func (d Door) accept() (*net.UnixConn, error) {
	for {
		conn, err := d.listener.AcceptUnix()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// serve waits for a program's first words, and then for a session.
func (d Door) serve(conn *net.UnixConn) {
	buf := make([]byte, stream.MaxPayload)
	_ = conn.SetReadDeadline(time.Now().Add(silence)) // fails only with the read
	n, err := conn.Read(buf)
	if err != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	select {
	case s := <-d.sessions:
		relay(s, conn, buf, n)
	case <-time.After(patience):
	}
}

// relay passes bytes on until one side hangs up. The first n of buf were read already.
func relay(s *stream.Session, conn *net.UnixConn, buf []byte, n int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer s.Close()
	var out sync.WaitGroup
	out.Go(func() {
		defer cancel()
		var err error
		for {
			if n > 0 && s.Send(ctx, stream.Stdout, buf[:n]) != nil {
				return
			}
			if err != nil {
				awaitEnd(ctx, conn)
				s.Exit(0)
				return
			}
			n, err = conn.Read(buf)
		}
	})
	for {
		f, err := s.Next(ctx)
		if err != nil || f.Kind != stream.Stdin {
			break
		}
		_ = conn.SetWriteDeadline(time.Now().Add(patience)) // fails only with the write
		if _, err := conn.Write(f.Payload); err != nil {
			break
		}
	}
	cancel()
	conn.Close()
	out.Wait()
}

// awaitEnd returns when the program has hung up. One that has only ended what it sends still waits
// for its answer, for so long at most.
func awaitEnd(ctx context.Context, conn *net.UnixConn) {
	for end := time.Now().Add(patience); time.Now().Before(end) && !hungUp(conn); {
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func hungUp(conn *net.UnixConn) (up bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(fds, 0)
		up = err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return up || err != nil
}
