package jailtest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/driverstest/testhost"
)

func closing(c io.Closer, err error) error {
	if err == nil {
		c.Close()
	}
	return err
}

func opens(name string) func() error {
	return func() error { return closing(os.Open(name)) }
}

func creates(name string) func() error {
	return func() error { return os.WriteFile(name, nil, 0o644) }
}

func runs(name string) func() error {
	return func() error { return syscall.Exec(name, nil, nil) }
}

func dials(network, address string) func() error {
	return func() error { return closing(net.Dial(network, address)) }
}

func makesDevice(dir string) func() error {
	return func() error { return unix.Mknod(path.Join(dir, "sda"), unix.S_IFBLK|0o666, 8<<8) }
}

// at is AT_FDCWD as an argument of call.
const at = ^uintptr(99)

// atFile makes a file in dir, and calls f with its name as an argument of call.
func atFile(dir string, f func(name uintptr) error) func() error {
	return func() error {
		name, err := unix.BytePtrFromString(dir + "/file")
		if err := errors.Join(err, os.WriteFile(dir+"/file", nil, 0o644)); err != nil {
			return err
		}
		err = f(uintptr(unsafe.Pointer(name)))
		runtime.KeepAlive(name)
		return err
	}
}

// trusts reports whether this process may set trusted attributes: not in a user namespace.
func trusts() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Contains(string(ids), "4294967295")
}

// call makes a system call.
func call(number uintptr, args ...uintptr) func() error {
	return func() error {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}
}

// pairs makes a pair of connected sockets of a family.
func pairs(family int) func() error {
	return func() error {
		fds, err := unix.Socketpair(family, unix.SOCK_STREAM, 0)
		if err == nil {
			unix.Close(fds[0])
			unix.Close(fds[1])
		}
		return err
	}
}

// forks makes a process that ends at once.
func forks(flags uintptr) func() error {
	return func() error {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		if pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		_, err := unix.Wait4(int(pid), nil, 0, nil)
		return err
	}
}

// joinsGroup also fails if the call only seems to succeed.
func joinsGroup() error {
	group := uint32(4711)
	if err := call(unix.SYS_SETGROUPS, 1, uintptr(unsafe.Pointer(&group)))(); err != nil {
		return err
	}
	groups, err := unix.Getgroups()
	if err == nil && !slices.Contains(groups, int(group)) {
		return unix.EPERM
	}
	return err
}

// apart calls f on a thread with a root and a working directory of its own. The thread ends
// after that.
func apart(f func() error) func() error {
	return func() error {
		return testhost.OnOwnThread(func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			return f()
		})
	}
}

// upwards climbs out of dir by one ".." after the other.
func upwards(dir, name string) func() error {
	return func() error {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		return climb(fd, name)
	}
}

// climb goes up from the directory fd, and then to name. It closes fd.
func climb(fd int, name string) error {
	for range 20 {
		up, err := unix.Openat(fd, "..", unix.O_PATH|unix.O_DIRECTORY, 0)
		unix.Close(fd)
		if err != nil {
			return err
		}
		fd = up
	}
	defer unix.Close(fd)
	file, err := unix.Openat(fd, strings.TrimPrefix(name, "/"), unix.O_RDONLY, 0)
	if err == nil {
		unix.Close(file)
	}
	return err
}

// upwardsFromChroot is the old way out of a chroot: through a directory that was opened before
// it.
func upwardsFromChroot(dir, name string) func() error {
	return apart(func() error {
		fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		if err := unix.Chroot(dir); err != nil {
			unix.Close(fd)
			return err
		}
		return climb(fd, name)
	})
}

// upwardsFromInherited tries every descriptor as a directory. None may be one.
func upwardsFromInherited(name string) func() error {
	return func() (err error) {
		for fd := range 256 {
			up := strings.Repeat("../", 20) + strings.TrimPrefix(name, "/")
			if _, err = unix.Openat(fd, up, unix.O_RDONLY, 0); err != unix.ENOTDIR && err != unix.EBADF {
				return err
			}
		}
		return err
	}
}

func opensFile(name string) func() error {
	return func() error { return closing(os.OpenFile(name, os.O_RDWR, 0)) }
}

// socket makes a socket for f.
func socket(kind int, f func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_INET, kind, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}

func listens() error {
	return socket(unix.SOCK_STREAM, func(fd int) error { return unix.Listen(fd, 1) })
}

func binds(port int) func() error {
	return func() error {
		return socket(unix.SOCK_DGRAM, func(fd int) error {
			return unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port})
		})
	}
}

func setsOption(level, option int) func() error {
	return func() error {
		return socket(unix.SOCK_STREAM, func(fd int) error { return unix.SetsockoptInt(fd, level, option, 1) })
	}
}

// changesNetwork sends the kernel a request to change the network, and returns its answer.
func changesNetwork(kind uint16, body []byte) func() error {
	return func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		head := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
		head = binary.NativeEndian.AppendUint16(head, kind)
		head = binary.NativeEndian.AppendUint16(head, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE)
		head = append(head, make([]byte, 8)...) // number and sender
		answer := make([]byte, 4096)
		err = unix.Sendto(fd, append(head, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err == nil {
			_, _, err = unix.Recvfrom(fd, answer, 0)
		}
		if errno := -int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); err == nil && errno != 0 {
			err = syscall.Errno(errno)
		}
		return err
	}
}

// addressOfLoopback is 127.66.0.1/8 for the interface 1, which is the loopback.
func addressOfLoopback() []byte {
	body := make([]byte, unix.SizeofIfAddrmsg)
	body[0], body[1] = unix.AF_INET, 8
	binary.NativeEndian.PutUint32(body[4:], 1)
	return append(body, 8, 0, unix.IFA_LOCAL, 0, 127, 66, 0, 1)
}

// defaultRoute is the default route of IPv4.
func defaultRoute() []byte {
	body := make([]byte, unix.SizeofRtMsg)
	body[0], body[4], body[7] = unix.AF_INET, unix.RT_TABLE_MAIN, unix.RTN_UNICAST
	return body
}
