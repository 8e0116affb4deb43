package jail

import (
	"encoding/binary"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// verdict runs the filter on one call, as the kernel would.
func verdict(t *testing.T, program []bpf.Instruction, abi, number uint32, args ...uint64) uint32 {
	t.Helper()
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	// struct seccomp_data. The library's machine reads words in network byte order, the kernel in the
	// processor's.
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[0:], number)
	binary.BigEndian.PutUint32(data[4:], abi)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
	}
	v, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(v)
}

func TestFilter(t *testing.T) {
	info, err := arch.GetInfo("")
	if err != nil {
		t.Skip(err)
	}
	program, err := filter(profile{})
	if err != nil {
		t.Fatal(err)
	}
	const allowed, denied, absent = uint32(unix.SECCOMP_RET_ALLOW),
		uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)), uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	const thread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	tests := []struct {
		name, call string
		args       []uint64
		want       uint32
	}{
		{"read", "read", nil, allowed},
		{"execve, which ends the set-up", "execve", nil, allowed},
		{"openat", "openat", nil, allowed},
		{"chroot, which is the capability's", "chroot", nil, allowed},
		{"mknodat, which gives EROFS", "mknodat", nil, allowed},
		{"setgroups, for real", "setgroups", nil, allowed},
		{"a thread", "clone", []uint64{thread}, allowed},
		{"a process", "clone", []uint64{uint64(unix.SIGCHLD)}, denied},
		{"vfork by clone", "clone", []uint64{unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD)}, denied},
		{"a thread in a user namespace", "clone", []uint64{thread | unix.CLONE_NEWUSER}, denied},
		{"flags in the upper half are no thread", "clone", []uint64{uint64(thread) << 32}, denied},
		{"clone3", "clone3", nil, absent},
		{"unshare what is no namespace", "unshare", []uint64{unix.CLONE_FS}, allowed},
		{"unshare mounts", "unshare", []uint64{unix.CLONE_NEWNS | unix.CLONE_FS}, denied},
		{"unshare time", "unshare", []uint64{unix.CLONE_NEWTIME}, denied},
		{"a local socket", "socket", []uint64{unix.AF_UNIX}, allowed},
		{"an IP socket", "socket", []uint64{unix.AF_INET6}, allowed},
		{"a vsock", "socket", []uint64{unix.AF_VSOCK}, denied},
		{"a netlink socket", "socket", []uint64{unix.AF_NETLINK}, denied},
		{"a packet socket", "socket", []uint64{unix.AF_PACKET}, denied},
		{"a local pair", "socketpair", []uint64{unix.AF_UNIX}, allowed},
		{"a TIPC pair", "socketpair", []uint64{unix.AF_TIPC}, denied},
		{"an IP pair, which there is not", "socketpair", []uint64{unix.AF_INET}, denied},
		{"a local pair's family in the upper half", "socketpair", []uint64{1<<32 | unix.AF_TIPC}, denied},
		{"a terminal's size", "ioctl", []uint64{0, unix.TIOCGWINSZ}, allowed},
		{"typing into a terminal", "ioctl", []uint64{0, unix.TIOCSTI}, denied},
		{"typing, by a number that the kernel cuts", "ioctl", []uint64{0, 7<<32 | unix.TIOCSTI}, denied},
		{"pasting", "ioctl", []uint64{3, unix.TIOCLINUX}, denied},
		{"what is no command", "ioctl", []uint64{unix.TIOCSTI, 0}, allowed},
		{"unshare users", "unshare", []uint64{unix.CLONE_NEWUSER}, denied},
	}
	for _, name := range known(info, deniedCalls) {
		tests = append(tests, struct {
			name, call string
			args       []uint64
			want       uint32
		}{name, name, nil, denied})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			number, ok := info.SyscallNames[tt.call]
			if !ok {
				t.Fatalf("%s is no call", tt.call)
			}
			if got := verdict(t, program, uint32(info.ID), uint32(number), tt.args...); got != tt.want {
				t.Errorf("got %#x, want %#x", got, tt.want)
			}
		})
	}
}

// TestNetworkFilter checks the list of what a network process may call.
func TestNetworkFilter(t *testing.T) {
	info, err := arch.GetInfo("")
	if err != nil {
		t.Skip(err)
	}
	program, err := filter(profiles[Network])
	if err != nil {
		t.Fatal(err)
	}
	const allowed, denied, absent = uint32(unix.SECCOMP_RET_ALLOW),
		uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)), uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	const thread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	may := map[string]bool{"socket": true, "clone": true}
	for _, name := range networkCalls {
		may[name] = true
	}
	for name, number := range info.SyscallNames {
		want := denied
		switch {
		case name == "clone3":
			want = absent
		case name == "socket", name == "clone":
			continue
		case may[name]:
			want = allowed
		}
		// The arguments are what clone and socket would allow.
		if got := verdict(t, program, uint32(info.ID), uint32(number), unix.AF_INET|thread, 0, unix.NETLINK_ROUTE); got != want {
			t.Errorf("%s: got %#x, want %#x", name, got, want)
		}
	}
	for _, test := range []struct {
		call string
		args []uint64
		want uint32
	}{
		{"socket", []uint64{unix.AF_INET, unix.SOCK_STREAM}, allowed},
		{"socket", []uint64{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK, unix.IPPROTO_TCP}, allowed},
		{"socket", []uint64{unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP}, allowed},
		{"socket", []uint64{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP}, denied},
		{"socket", []uint64{unix.AF_INET6, unix.SOCK_RAW | unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6}, denied},
		{"socket", []uint64{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP}, denied},
		{"socket", []uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, denied},
		{"socket", []uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, denied},
		{"listen", nil, denied},
		{"socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, allowed},
		{"socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT}, denied},
		{"socket", []uint64{unix.AF_UNIX}, denied},
		{"socket", []uint64{unix.AF_VSOCK}, denied},
		{"socket", []uint64{unix.AF_PACKET}, denied},
		{"clone", []uint64{thread}, allowed},
		{"clone", []uint64{uint64(unix.SIGCHLD)}, denied},
		{"clone", []uint64{thread | unix.CLONE_NEWUSER}, denied},
	} {
		if got := verdict(t, program, uint32(info.ID), uint32(info.SyscallNames[test.call]), test.args...); got != test.want {
			t.Errorf("%s%v: got %#x, want %#x", test.call, test.args, got, test.want)
		}
	}
	if got := known(arch.X86_64, networkCalls); len(got) != len(networkCalls) {
		t.Errorf("of %d names %d are known on amd64", len(networkCalls), len(got))
	}
}

// TestFilterKnowsEveryName finds misspelt names. Calls that amd64 lacks are old or of another
// architecture, and are listed here.
func TestFilterKnowsEveryName(t *testing.T) {
	if got := known(arch.X86_64, deniedCalls); len(got) != len(deniedCalls) {
		has := map[string]bool{}
		for _, name := range got {
			has[name] = true
		}
		for _, name := range deniedCalls {
			if !has[name] {
				t.Errorf("%s is not known", name)
			}
		}
	}
}

func TestFilterOfAnotherABI(t *testing.T) {
	program, err := filter(profile{})
	if err != nil {
		t.Skip(err)
	}
	other := uint32(unix.AUDIT_ARCH_I386)
	for _, number := range []uint32{0, 3, 21, 120, 1000} {
		if got := verdict(t, program, other, number); got != uint32(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)) {
			t.Errorf("call %d of i386: %#x", number, got)
		}
	}
}

func TestFilterThatPretends(t *testing.T) {
	info, err := arch.GetInfo("")
	if err != nil {
		t.Skip(err)
	}
	program, err := filter(profile{noGroups: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := verdict(t, program, uint32(info.ID), unix.SYS_SETGROUPS); got != unix.SECCOMP_RET_ERRNO {
		t.Errorf("setgroups: %#x", got)
	}
	if got := verdict(t, program, uint32(info.ID), unix.SYS_PTRACE); got == unix.SECCOMP_RET_ALLOW {
		t.Error("ptrace passes")
	}
	if got := verdict(t, program, uint32(info.ID), unix.SYS_READ); got != unix.SECCOMP_RET_ALLOW {
		t.Errorf("read: %#x", got)
	}
}

func TestFilterOfAServer(t *testing.T) {
	info, err := arch.GetInfo("")
	if err != nil {
		t.Skip(err)
	}
	for p, forWriting := range map[Profile]uint32{
		Strict:       unix.SECCOMP_RET_ALLOW, // QEMU writes to its disk
		FileServer:   unix.SECCOMP_RET_ERRNO | uint32(unix.EROFS),
		ChrootServer: unix.SECCOMP_RET_ERRNO | uint32(unix.EROFS),
	} {
		program, err := filter(profiles[p])
		if err != nil {
			t.Fatal(err)
		}
		for flags, want := range map[uint64]uint32{
			unix.O_RDONLY:                  unix.SECCOMP_RET_ALLOW,
			unix.O_PATH | unix.O_NOFOLLOW:  unix.SECCOMP_RET_ALLOW,
			unix.O_WRONLY:                  forWriting,
			unix.O_RDWR | unix.O_CLOEXEC:   forWriting,
			unix.O_WRONLY | unix.O_APPEND:  forWriting,
			unix.O_RDWR | unix.O_TRUNC | 1: forWriting,
		} {
			if got := verdict(t, program, uint32(info.ID), unix.SYS_OPENAT, 0, 0, flags); got != want {
				t.Errorf("%s: openat with flags %#x: %#x, want %#x", p, flags, got, want)
			}
		}
		// The filter allows IP sockets: the network namespace refuses a missing network.
		if got := verdict(t, program, uint32(info.ID), unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP); got != unix.SECCOMP_RET_ALLOW {
			t.Errorf("%s: an IP socket: %#x", p, got)
		}
	}
}

// TestFilterOfAnUnpacker checks that it makes files and directories, and nothing that leads
// elsewhere, and that its sockets are IP.
func TestFilterOfAnUnpacker(t *testing.T) {
	info, err := arch.GetInfo("")
	if err != nil {
		t.Skip(err)
	}
	program, err := filter(profiles[Unpacker])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"symlink", "symlinkat", "link", "linkat", "mknod", "mknodat", "fork", "ptrace", "mount"} {
		number, ok := info.SyscallNames[name]
		if got := verdict(t, program, uint32(info.ID), uint32(number)); ok && got != unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM) {
			t.Errorf("%s: %#x", name, got)
		}
	}
	for _, number := range []uint32{unix.SYS_MKDIRAT, unix.SYS_RENAMEAT, unix.SYS_UNLINKAT, unix.SYS_FALLOCATE, unix.SYS_FLOCK, unix.SYS_CONNECT} {
		if got := verdict(t, program, uint32(info.ID), number); got != unix.SECCOMP_RET_ALLOW {
			t.Errorf("call %d: %#x", number, got)
		}
	}
	const denied = uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	for _, call := range []uint32{unix.SYS_SOCKET, unix.SYS_SOCKETPAIR} {
		for family := range uint64(unix.AF_MAX) {
			want := denied
			if call == unix.SYS_SOCKET && (family == unix.AF_INET || family == unix.AF_INET6) {
				want = unix.SECCOMP_RET_ALLOW
			}
			if got := verdict(t, program, uint32(info.ID), call, family, unix.SOCK_STREAM); got != want {
				t.Errorf("call %d, family %d: %#x, want %#x", call, family, got, want)
			}
		}
	}
	if got := verdict(t, program, uint32(info.ID), unix.SYS_OPENAT, 0, 0, unix.O_CREAT|unix.O_RDWR, 0o600); got != unix.SECCOMP_RET_ALLOW {
		t.Errorf("making a file: %#x", got)
	}
	if got := verdict(t, program, uint32(info.ID), unix.SYS_FCHMOD, 0, unix.S_ISUID|0o755); got == unix.SECCOMP_RET_ALLOW {
		t.Error("a file gets the set-user-id bit")
	}
}

// TestFilterOfAWriter checks that a server for writing makes any file but one with the
// set-user-id bit.
func TestFilterOfAWriter(t *testing.T) {
	info, err := arch.GetInfo("")
	if err != nil {
		t.Skip(err)
	}
	const allowed, denied, absent = uint32(unix.SECCOMP_RET_ALLOW),
		uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)), uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	const setuid, setgid, plain = uint64(unix.S_ISUID | 0o755), uint64(unix.S_ISGID | 0o755), uint64(0o755)
	const create = uint64(unix.O_CREAT | unix.O_RDWR)
	tests := []struct {
		name   string
		number uint32
		args   []uint64
		want   uint32
	}{
		{"open for writing", unix.SYS_OPENAT, []uint64{0, 0, unix.O_RDWR}, allowed},
		{"make a file", unix.SYS_OPENAT, []uint64{0, 0, create, 0o644}, allowed},
		{"make a file of a set user", unix.SYS_OPENAT, []uint64{0, 0, create, setuid}, denied},
		{"make a file of a set group", unix.SYS_OPENAT, []uint64{0, 0, create, setgid}, denied},
		{"make one without a name", unix.SYS_OPENAT, []uint64{0, 0, unix.O_TMPFILE | unix.O_RDWR, setuid}, denied},
		{"open a directory, whatever is in the place of the mode", unix.SYS_OPENAT, []uint64{0, 0, unix.O_DIRECTORY, setuid}, allowed},
		{"openat2, whose mode is in memory", unix.SYS_OPENAT2, nil, absent},
		{"chmod", unix.SYS_FCHMODAT, []uint64{0, 0, plain}, allowed},
		{"chmod to a set user", unix.SYS_FCHMODAT, []uint64{0, 0, setuid}, denied},
		{"chmod to a set group, as of a directory", unix.SYS_FCHMODAT, []uint64{0, 0, setgid}, allowed},
		{"fchmod", unix.SYS_FCHMOD, []uint64{0, plain}, allowed},
		{"fchmod to a set user", unix.SYS_FCHMOD, []uint64{0, setuid}, denied},
		{"fchmod by a number that the kernel cuts", unix.SYS_FCHMOD, []uint64{0, 1<<32 | setuid}, denied},
		{"the younger chmod to a set user", unix.SYS_FCHMODAT2, []uint64{0, 0, setuid}, denied},
		{"mknod", unix.SYS_MKNODAT, []uint64{0, 0, unix.S_IFREG | plain}, allowed},
		{"mknod of a set user", unix.SYS_MKNODAT, []uint64{0, 0, unix.S_IFREG | setuid}, denied},
		{"mknod of a set group", unix.SYS_MKNODAT, []uint64{0, 0, unix.S_IFREG | setgid}, denied},
		{"ptrace", unix.SYS_PTRACE, nil, denied},
	}
	for _, p := range []Profile{WritingServer, WritingChrootServer} {
		program, err := filter(profiles[p])
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range tests {
			if got := verdict(t, program, uint32(info.ID), tt.number, tt.args...); got != tt.want {
				t.Errorf("%s: %s: %#x, want %#x", p, tt.name, got, tt.want)
			}
		}
		for name, want := range map[string]uint32{"open": denied, "creat": denied, "chmod": denied, "mknod": denied} {
			number, ok := info.SyscallNames[name]
			args := map[string][]uint64{"open": {0, create, setuid}, "creat": {0, setuid}, "chmod": {0, setuid}, "mknod": {0, setuid}}[name]
			if got := verdict(t, program, uint32(info.ID), uint32(number), args...); ok && got != want {
				t.Errorf("%s: %s: %#x, want %#x", p, name, got, want)
			}
		}
	}
}
