package jailtest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// try is one attempt to make.
type try struct {
	name    string
	do      func() error
	outside bool // it succeeds outside of a jail, and does no harm there
}

// outside returns the tries for outside of a jail.
func outside(list []try) []try {
	return slices.DeleteFunc(list, func(t try) bool { return !t.outside })
}

// tries returns all attempts on t.
func tries(t Targets) []try {
	dir := cmp.Or(t.Share, t.Work)
	list := slices.Concat(triesToRead(t, dir), triesToConnect(t.Host), triesOnProcesses(t.Host), triesToMount(dir), triesOnKernel())
	if t.Share != "" {
		list = append(list, triesToWrite(t.Share)...)
	}
	if t.Work != "" {
		list = append(list, triesAtWork(t)...)
	}
	if t.Covered != "" {
		list = append(list, triesOnCover(t)...)
	}
	if t.Scratch != "" {
		list = append(list, triesInScratch(t.Scratch)...)
	}
	if t.Network {
		list = append(list, triesOnNetwork()...)
	}
	if t.Disk != "" {
		list = append(list, try{name: "run a program of the VM's disk", do: runs(t.Disk)})
	}
	return list
}

// triesToRead begins its ways up at dir.
func triesToRead(t Targets, dir string) []try {
	return []try{
		{"open /etc/shadow", opens("/etc/shadow"), os.Geteuid() == 0},
		{"open the keys", opens(t.Keys), true},
		{"open another share", opens(t.OtherShare), true},
		{"open .. out of the share: /etc/shadow", upwards(dir, "/etc/shadow"), os.Geteuid() == 0},
		{"open .. out of the share: the keys", upwards(dir, t.Keys), true},
		{"open .. out of the share: another share", upwards(dir, t.OtherShare), true},
		{name: "open .. from an inherited descriptor", do: upwardsFromInherited("/etc/shadow")},
		{name: "open .. out of a chroot", do: upwardsFromChroot(dir, t.Keys)},
		{"open by the process's root", opens("/proc/self/root/etc/shadow"), os.Geteuid() == 0},
		{"open by the process's directory", opens("/proc/self/cwd/../etc/shadow"), false},
		{"see the host's process", opens("/.proc/" + strconv.Itoa(t.PID) + "/status"), false},
		{"list the root", func() error { _, err := os.ReadDir("/"); return err }, true},
		{"write to the jail's root", creates("/new"), false},
		{"write to /proc/sys", func() error { return os.WriteFile("/proc/sys/fs/file-max", []byte("1"), 0) }, false},
	}
}

func triesToConnect(h Host) []try {
	return []try{
		{"connect to the gateway's socket", dials("unix", h.Socket), true},
		{"connect to an abstract socket", dials("unix", h.Abstract), true},
		{"connect to the host's loopback", dials("tcp", fmt.Sprintf("127.0.0.1:%d", h.Port)), true},
		{name: "a vsock, which reaches the host", do: call(unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM)},
		{name: "a pair of TIPC sockets", do: pairs(unix.AF_TIPC)},
		{name: "type into a terminal", do: call(unix.SYS_IOCTL, 0, unix.TIOCSTI)},
		{name: "type into a terminal, by a longer number", do: call(unix.SYS_IOCTL, 0, 1<<32|unix.TIOCSTI)},
		{name: "paste into a terminal", do: call(unix.SYS_IOCTL, 0, unix.TIOCLINUX)},
		{"a netlink socket", call(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW), true},
	}
}

// triesOnNetwork are what the host's network offers beside connections.
func triesOnNetwork() []try {
	root := os.Geteuid() == 0
	opens := func(family, kind, protocol uintptr) func() error {
		return call(unix.SYS_SOCKET, family, kind, protocol)
	}
	return []try{
		{"a raw IPv4 socket", opens(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), root},
		{"a raw IPv6 socket", opens(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6), root},
		{name: "a socket for pings", do: opens(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)},
		{"a packet socket, which sees all traffic", opens(unix.AF_PACKET, unix.SOCK_RAW, 0), root},
		{name: "a socket of SCTP", do: opens(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)},
		{name: "a socket of MPTCP", do: opens(unix.AF_INET, unix.SOCK_STREAM, 262)},
		{"a socket of the kernel's ciphers", opens(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), false},
		{"netlink of the packet filter", opens(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), true},
		{"netlink of the audit", opens(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT), false},
		{"netlink of all sockets of the host", opens(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_SOCK_DIAG), true},
		{"a pair of local sockets", pairs(unix.AF_UNIX), true},
		{"listen at a port of the host", listens, true},
		{name: "take a port below 1024", do: binds(81)},
		{name: "give the host an address", do: changesNetwork(unix.RTM_NEWADDR, addressOfLoopback())},
		{name: "take the host's route away", do: changesNetwork(unix.RTM_DELROUTE, defaultRoute())},
		{name: "take packets for other addresses", do: setsOption(unix.SOL_IP, unix.IP_TRANSPARENT)},
		{name: "mark packets for other routes", do: setsOption(unix.SOL_SOCKET, unix.SO_MARK)},
		{name: "make a network card", do: opensFile("/dev/net/tun")},
		{name: "move to another network", do: call(unix.SYS_SETNS, 0, unix.CLONE_NEWNET)},
	}
}

func triesOnProcesses(h Host) []try {
	list := []try{
		{"signal the host's process", func() error { return unix.Kill(h.PID, 0) }, true},
		{"ptrace", call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(h.PID)), mayTrace()},
		{name: "process_vm_readv", do: call(unix.SYS_PROCESS_VM_READV, uintptr(h.PID))},
		{name: "pidfd_getfd", do: call(unix.SYS_PIDFD_GETFD)},
		{"fork", forks(0), true},
		{"clone a user namespace", forks(unix.CLONE_NEWUSER), true},
		{name: "clone3", do: call(unix.SYS_CLONE3)},
		{name: "unshare a user namespace", do: func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
		{name: "unshare a mount namespace", do: func() error { return unix.Unshare(unix.CLONE_NEWNS) }},
		{name: "setns", do: call(unix.SYS_SETNS)},
		{name: "get capabilities back", do: func() error {
			h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			d := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
			return unix.Capset(&h, &d[0])
		}},
		{name: "become another user", do: apart(call(unix.SYS_SETRESUID, 1, 1, 1))},
		{name: "join a group", do: joinsGroup},
		{name: "raise the limit on core dumps", do: func() error {
			return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
		}},
	}
	if runtime.GOARCH == "amd64" {
		const x32 = 0x40000000
		list = append(list, try{name: "a call of the x32 ABI", do: call(x32 | unix.SYS_GETPID)})
	}
	return list
}

func triesToWrite(share string) []try {
	file := path.Join(share, "file")
	return []try{
		{"write to the share", creates(share + "/new"), true},
		{"open a file of the share for writing", func() error { return closing(os.OpenFile(file, os.O_RDWR, 0)) }, true},
		{"truncate", func() error { return os.Truncate(file, 0) }, true},
		{"chmod", func() error { return os.Chmod(file, 0o777) }, true},
		{"link", func() error { return os.Link(file, share+"/link") }, true},
		{"symlink", func() error { return os.Symlink("/", share+"/symlink") }, true},
		{"mkdir", func() error { return os.Mkdir(share+"/dir", 0o755) }, true},
		{"rename", func() error { return os.Rename(share+"/program", share+"/other") }, true},
		{"unlink", func() error { return os.Remove(file) }, true},
		{"write below a submount of the share", creates(share + "/sub/new"), true},
		{name: "mknod a device in the share", do: makesDevice(share)},
		{name: "run a program of the share", do: runs(share + "/program")},
	}
}

// triesAtWork are what a guest's root may not do with files that it may write to: nothing
// may lead out of the directory, or stay there as a way to more rights on the host.
func triesAtWork(t Targets) []try {
	root, dir := os.Geteuid() == 0, t.Work
	return []try{
		{"write a file at work", creates(dir + "/made"), true},
		{"rename it into another directory", func() error {
			return errors.Join(os.Mkdir(dir+"/d", 0o755), os.Rename(dir+"/made", dir+"/d/made"))
		}, true},
		{"make a file with the set-user-id bit", func() error {
			return closing(os.OpenFile(dir+"/user", os.O_CREATE|os.O_EXCL|os.O_RDWR, os.ModeSetuid|0o755))
		}, true},
		{"make a file with the set-group-id bit", func() error {
			return closing(os.OpenFile(dir+"/group", os.O_CREATE|os.O_EXCL|os.O_RDWR, os.ModeSetgid|0o755))
		}, true},
		{"make one without a name, with the set-user-id bit", func() error {
			fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR, unix.S_ISUID|0o755)
			unix.Close(fd)
			return err
		}, true},
		{"make one by openat2", func() error {
			how := unix.OpenHow{Flags: unix.O_CREAT | unix.O_RDWR, Mode: unix.S_ISUID | 0o755}
			fd, err := unix.Openat2(unix.AT_FDCWD, dir+"/made", &how)
			unix.Close(fd)
			return err
		}, true},
		{"make one by mknod", func() error { return unix.Mknod(dir+"/node", unix.S_IFREG|unix.S_ISUID|0o755, 0) }, true},
		{"chmod with the set-user-id bit", atFile(dir, func(file uintptr) error {
			return call(unix.SYS_FCHMODAT, at, file, unix.S_ISUID|0o755)()
		}), true},
		{name: "a younger chmod with the set-user-id bit", do: atFile(dir, func(file uintptr) error {
			return call(unix.SYS_FCHMODAT2, at, file, unix.S_ISUID|0o755)()
		})},
		{"mknod a device at work", makesDevice(dir), root},
		{"mknod a terminal at work", func() error { return unix.Mknod(dir+"/tty", unix.S_IFCHR|0o666, 5<<8) }, root},
		{"give a file capabilities", atFile(dir, func(uintptr) error {
			value := []byte{1, 0, 0, 2, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
			return unix.Setxattr(dir+"/file", "security.capability", value, 0)
		}), root},
		{"give a file a trusted attribute", atFile(dir, func(uintptr) error {
			return unix.Setxattr(dir+"/file", "trusted.overlay.redirect", []byte("/etc"), 0)
		}), root && trusts()},
		{name: "run a program at work", do: func() error {
			if err := os.WriteFile(dir+"/program", []byte("#!/bin/sh\n"), 0o755); err != nil {
				return err
			}
			return runs(dir + "/program")()
		}},
		{name: "open a link at work that leads to the keys", do: func() error {
			return errors.Join(os.Symlink(t.Keys, dir+"/link"), opens(dir+"/link")())
		}},
		{name: "link a program of the jail into it", do: func() error {
			self, err := os.Executable()
			return errors.Join(err, os.Link(self, dir+"/linked"))
		}},
		{name: "write to what the jail's programs are", do: func() error { return closing(os.OpenFile("/proc/self/exe", os.O_RDWR, 0)) }},
	}
}

func triesOnCover(t Targets) []try {
	return []try{
		{name: "list a masked directory", do: func() error {
			names, err := os.ReadDir(t.Covered)
			if err == nil && len(names) == 0 {
				return syscall.ENOENT
			}
			return err
		}},
		{name: "write to a masked directory", do: creates(t.Covered + "/new")},
		{name: "umount the mask", do: func() error { return unix.Unmount(t.Covered, unix.MNT_DETACH) }},
	}
}

func triesInScratch(dir string) []try {
	return []try{
		{name: "mknod a device in the jail's tmpfs", do: makesDevice(dir)},
		{name: "run a program of the jail's tmpfs", do: func() error {
			if err := os.WriteFile(dir+"/program", []byte("#!/bin/sh\n"), 0o755); err != nil {
				return err
			}
			return runs(dir + "/program")()
		}},
	}
}

func triesToMount(share string) []try {
	return []try{
		{name: "mount", do: func() error { return unix.Mount("none", share, "tmpfs", 0, "") }},
		{name: "remount rw", do: func() error { return unix.Mount("", share, "", unix.MS_REMOUNT|unix.MS_BIND, "") }},
		{name: "mount_setattr", do: func() error {
			return unix.MountSetattr(unix.AT_FDCWD, share, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
		}},
		{name: "open_tree", do: call(unix.SYS_OPEN_TREE)},
		{name: "fsopen", do: func() error { _, err := unix.Fsopen("tmpfs", 0); return err }},
		{name: "pivot_root", do: func() error { return unix.PivotRoot(share, share) }},
		{name: "chroot", do: apart(func() error { return unix.Chroot(share) })},
	}
}

func triesOnKernel() []try {
	text := func(s string) uintptr { p, _ := unix.BytePtrFromString(s); return uintptr(unsafe.Pointer(p)) }
	return []try{
		{name: "bpf", do: call(unix.SYS_BPF)},
		{name: "perf_event_open", do: call(unix.SYS_PERF_EVENT_OPEN)},
		{name: "userfaultfd", do: call(unix.SYS_USERFAULTFD)},
		{name: "io_uring_setup", do: call(unix.SYS_IO_URING_SETUP)},
		{name: "open_by_handle_at", do: call(unix.SYS_OPEN_BY_HANDLE_AT)},
		{name: "keyctl", do: call(unix.SYS_KEYCTL)},
		{name: "add_key", do: call(unix.SYS_ADD_KEY, text("user"), text("k"), text("v"), 1)},
		{name: "request_key", do: call(unix.SYS_REQUEST_KEY)},
		{name: "kexec_load", do: call(unix.SYS_KEXEC_LOAD)},
		{name: "init_module", do: call(unix.SYS_INIT_MODULE)},
		{name: "finit_module", do: call(unix.SYS_FINIT_MODULE)},
		{name: "reboot", do: call(unix.SYS_REBOOT)},
		{name: "settimeofday", do: call(unix.SYS_SETTIMEOFDAY)},
		{name: "sethostname", do: call(unix.SYS_SETHOSTNAME)},
	}
}

// mayTrace reports whether a process may trace another one of its user.
func mayTrace() bool {
	scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	return err != nil || strings.TrimSpace(string(scope)) == "0"
}
