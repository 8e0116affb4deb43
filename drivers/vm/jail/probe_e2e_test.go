//go:build e2e

package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	roles["intrude"] = intrude
	roles["threads"] = startThreads
	roles["sleep"] = func([]string) { time.Sleep(time.Hour) }
}

// targets are what a program that has broken out of a guest would go for.
type targets struct {
	Keys, OtherShare, Socket string // paths on the host
	Abstract                 string // a socket's name on the host
	Port                     int    // on the host's loopback
	PID                      int    // of the host's test process
}

// attempt is one try, and how it ended. Errno is 0 if it succeeded.
type attempt struct {
	Name  string
	Errno syscall.Errno
	Says  string
}

// intrude stands in the VMM's place and tries everything.
func intrude(args []string) {
	var t targets
	if err := json.Unmarshal([]byte(args[0]), &t); err != nil {
		panic(err)
	}
	runtime.LockOSThread()
	out := json.NewEncoder(os.Stdout)
	for _, try := range tries(t) {
		err := try.do()
		a := attempt{Name: try.name}
		if err != nil {
			a.Says = err.Error()
			if !errors.As(err, &a.Errno) {
				a.Errno = 9999
			}
		}
		out.Encode(a)
	}
}

type try struct {
	name string
	do   func() error
}

func opens(path string) func() error {
	return func() error {
		f, err := os.Open(path)
		if err == nil {
			f.Close()
		}
		return err
	}
}

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

// upwards climbs out of the share by one ".." after the other.
func upwards(path string) func() error {
	return func() error {
		fd, err := unix.Open("/shared", unix.O_PATH|unix.O_DIRECTORY, 0)
		for range 20 {
			if err != nil {
				return err
			}
			fd, err = unix.Openat(fd, "..", unix.O_PATH|unix.O_DIRECTORY, 0)
		}
		if err == nil {
			_, err = unix.Openat(fd, strings.TrimPrefix(path, "/"), unix.O_RDONLY, 0)
		}
		return err
	}
}

func tries(t targets) []try {
	bytePointer := func(s string) uintptr { p, _ := unix.BytePtrFromString(s); return uintptr(unsafe.Pointer(p)) }
	list := []try{
		{"open /etc/shadow", opens("/etc/shadow")},
		{"open the keys", opens(t.Keys)},
		{"open another share", opens(t.OtherShare)},
		{"open .. out of the share: /etc/shadow", upwards("/etc/shadow")},
		{"open .. out of the share: the keys", upwards(t.Keys)},
		{"open .. out of the share: another share", upwards(t.OtherShare)},
		{"open by the process's root", opens("/proc/self/root/etc/shadow")},
		{"open by the process's directory", opens("/proc/self/cwd/../etc/shadow")},
		{"see the host's process", opens("/.proc/" + strconv.Itoa(t.PID) + "/status")},
		{"list the root", func() error { _, err := os.ReadDir("/"); return err }},
		{"list a masked directory", func() error {
			names, err := os.ReadDir("/shared/hidden")
			if err == nil && len(names) == 0 {
				return syscall.ENOENT
			}
			return err
		}},
		{"connect to the gateway's socket", func() error { _, err := net.Dial("unix", t.Socket); return err }},
		{"connect to an abstract socket", func() error { _, err := net.Dial("unix", t.Abstract); return err }},
		{"connect to the host's loopback", func() error { _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", t.Port)); return err }},
		{"a vsock, which reaches the host", call(unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM)},
		{"a netlink socket", call(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW)},
		{"signal the host's process", func() error { return unix.Kill(t.PID, 0) }},
		{"ptrace", call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(t.PID))},
		{"process_vm_readv", call(unix.SYS_PROCESS_VM_READV, uintptr(t.PID))},
		{"pidfd_getfd", call(unix.SYS_PIDFD_GETFD)},
		{"write to the share", func() error { return os.WriteFile("/shared/new", nil, 0o644) }},
		{"open a file of the share for writing", func() error { _, err := os.OpenFile("/shared/file", os.O_RDWR, 0); return err }},
		{"truncate", func() error { return os.Truncate("/shared/file", 0) }},
		{"unlink", func() error { return os.Remove("/shared/file") }},
		{"rename", func() error { return os.Rename("/shared/file", "/shared/other") }},
		{"chmod", func() error { return os.Chmod("/shared/file", 0o777) }},
		{"link", func() error { return os.Link("/shared/file", "/shared/link") }},
		{"symlink", func() error { return os.Symlink("/", "/shared/link") }},
		{"mkdir", func() error { return os.Mkdir("/shared/dir", 0o755) }},
		{"mknod a device in the share", func() error { return unix.Mknod("/shared/sda", unix.S_IFBLK|0o666, 8<<8) }},
		{"mknod a device in the jail's tmpfs", func() error { return unix.Mknod("/tmp/sda", unix.S_IFBLK|0o666, 8<<8) }},
		{"write below a submount of the share", func() error { return os.WriteFile("/shared/sub/new", nil, 0o644) }},
		{"write to the jail's root", func() error { return os.WriteFile("/new", nil, 0o644) }},
		{"write to /proc/sys", func() error { return os.WriteFile("/proc/sys/fs/file-max", []byte("1"), 0) }},
		{"run a program of the share", func() error { return syscall.Exec("/shared/program", nil, nil) }},
		{"run a program of the jail's tmpfs", func() error {
			if err := os.WriteFile("/tmp/program", []byte("#!/bin/sh\n"), 0o755); err != nil {
				return err
			}
			return syscall.Exec("/tmp/program", nil, nil)
		}},
		{"mount", func() error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") }},
		{"remount rw", func() error { return unix.Mount("", "/shared", "", unix.MS_REMOUNT|unix.MS_BIND, "") }},
		{"umount the mask", func() error { return unix.Unmount("/shared/hidden", unix.MNT_DETACH) }},
		{"mount_setattr", func() error {
			return unix.MountSetattr(unix.AT_FDCWD, "/shared", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
		}},
		{"open_tree", call(unix.SYS_OPEN_TREE)},
		{"fsopen", func() error { _, err := unix.Fsopen("tmpfs", 0); return err }},
		{"pivot_root", func() error { return unix.PivotRoot("/tmp", "/tmp") }},
		{"chroot", func() error { return unix.Chroot("/tmp") }},
		{"setns", call(unix.SYS_SETNS)},
		{"unshare a user namespace", func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
		{"unshare a mount namespace", func() error { return unix.Unshare(unix.CLONE_NEWNS) }},
		{"clone a user namespace", call(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))},
		{"clone3", call(unix.SYS_CLONE3)},
		{"fork", call(unix.SYS_CLONE, uintptr(unix.SIGCHLD))},
		{"bpf", call(unix.SYS_BPF)},
		{"perf_event_open", call(unix.SYS_PERF_EVENT_OPEN)},
		{"userfaultfd", call(unix.SYS_USERFAULTFD)},
		{"io_uring_setup", call(unix.SYS_IO_URING_SETUP)},
		{"open_by_handle_at", call(unix.SYS_OPEN_BY_HANDLE_AT)},
		{"keyctl", call(unix.SYS_KEYCTL)},
		{"add_key", call(unix.SYS_ADD_KEY, bytePointer("user"), bytePointer("k"), bytePointer("v"), 1)},
		{"request_key", call(unix.SYS_REQUEST_KEY)},
		{"kexec_load", call(unix.SYS_KEXEC_LOAD)},
		{"init_module", call(unix.SYS_INIT_MODULE)},
		{"finit_module", call(unix.SYS_FINIT_MODULE)},
		{"reboot", call(unix.SYS_REBOOT)},
		{"settimeofday", call(unix.SYS_SETTIMEOFDAY)},
		{"sethostname", call(unix.SYS_SETHOSTNAME)},
		{"get capabilities back", func() error {
			h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			d := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
			return unix.Capset(&h, &d[0])
		}},
		{"raise the limit on core dumps", func() error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}) }},
	}
	if runtime.GOARCH == "amd64" {
		const x32 = 0x40000000
		list = append(list, try{"a call of the x32 ABI", call(x32 | unix.SYS_GETPID)})
	}
	return list
}

// startThreads starts threads until it can't; the Go runtime then ends the
// process and says the errno.
func startThreads([]string) {
	for range 1000 {
		go func() {
			runtime.LockOSThread()
			select {}
		}()
	}
	time.Sleep(time.Minute)
}
