package jail

import (
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// networkCalls are all the system calls of the profile Network, beside socket and clone:
// what the Go runtime needs, and what sockets need. All others fail with EPERM, open and
// openat too, and listen: sockets that listen are inherited. execve is how the program starts; its jail holds no other.
var networkCalls = []string{
	"read", "write", "readv", "writev", "pread64", "close", "fcntl", "fstat", "newfstatat", "lseek", "dup", "dup3",
	"recvfrom", "sendto", "recvmsg", "sendmsg", "recvmmsg", "sendmmsg",
	"bind", "connect", "accept", "accept4", "shutdown", "getsockname", "getpeername", "setsockopt", "getsockopt",
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "pipe2", "poll", "ppoll",
	"futex", "set_robust_list", "rseq", "set_tid_address", "gettid", "getpid", "tgkill", "exit", "exit_group", "sched_yield",
	"sched_getaffinity", "membarrier", "restart_syscall", "arch_prctl", "execve",
	"mmap", "munmap", "mremap", "madvise", "mprotect", "mincore", "brk",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
	"nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time",
	"getrandom", "getrlimit", "setrlimit", "prlimit64", "uname", "getuid", "geteuid", "getgid", "getegid",
}

// socketType is the bits of a socket's type that are no flags.
const socketType = 0xf

// networkFilter is the filter of the profile Network. It is written without the library,
// which can't express it: see preamble.
func networkFilter(info *arch.Info) []bpf.Instruction {
	allow, refuse := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}, bpf.RetConstant{Val: uint32(fail(unix.EPERM))}
	code := preamble(info, profile{})
	code = append(code, onCall(info, "socket",
		bpf.LoadAbsolute{Off: argsOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET6, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_NETLINK, SkipTrue: 11},
		bpf.LoadAbsolute{Off: argsOffset + 16, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.NETLINK_ROUTE, SkipTrue: 8, SkipFalse: 9},
		bpf.LoadAbsolute{Off: argsOffset + 8, Size: 4}, // an IP socket: no raw one, TCP and UDP only
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: socketType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SOCK_STREAM, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SOCK_DGRAM, SkipTrue: 5},
		bpf.LoadAbsolute{Off: argsOffset + 16, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_TCP, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 1},
		allow, refuse,
	)...)
	code = append(code, onCall(info, "clone",
		bpf.LoadAbsolute{Off: argsOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: newNamespaces, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: unix.CLONE_THREAD, SkipTrue: 1},
		allow, refuse,
	)...)
	code = append(code, onCall(info, "clone3", bpf.RetConstant{Val: uint32(fail(unix.ENOSYS))})...)
	code = append(code, loadNumber)
	for _, name := range known(info, networkCalls) {
		code = append(code, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(info.SyscallNames[name]), SkipTrue: 1}, allow)
	}
	return append(code, refuse)
}

// onCall makes code that runs for one call, and ends it.
func onCall(info *arch.Info, name string, code ...bpf.Instruction) []bpf.Instruction {
	number, ok := info.SyscallNames[name]
	if !ok {
		return nil
	}
	return append([]bpf.Instruction{
		loadNumber, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(number), SkipTrue: uint8(len(code))},
	}, code...)
}
