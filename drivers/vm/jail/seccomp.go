package jail

import (
	"fmt"
	"runtime"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// deniedCalls are the system calls that neither a hypervisor nor a file server needs,
// and that reach other processes, the kernel's insides or another view of the system.
// They fail with EPERM. Calls that change files are not among them: a read-only mount
// gives the better answer, EROFS.
var deniedCalls = []string{
	// mounts
	"mount", "umount2", "pivot_root", "mount_setattr", "open_tree", "open_tree_attr", "move_mount",
	"fsopen", "fsconfig", "fsmount", "fspick", "quotactl", "quotactl_fd", "swapon", "swapoff",
	// namespaces; clone and unshare are below
	"setns",
	// other processes
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp",
	"pidfd_getfd", "migrate_pages", "move_pages",
	// files by a way round the tree
	"open_by_handle_at", "fanotify_init",
	// the kernel itself
	"bpf", "perf_event_open", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
	"create_module", "query_module", "get_kernel_syms", "reboot", "syslog", "acct", "lookup_dcookie", "nfsservctl",
	"_sysctl", "sysfs", "uselib", "ustat", "vhangup", "iopl", "ioperm", "modify_ldt",
	"userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
	"settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
	"sethostname", "setdomainname",
	// keys
	"add_key", "request_key", "keyctl",
}

// notPlain are the system calls that make something other than files and directories, or a
// second name.
var notPlain = []string{"symlink", "symlinkat", "link", "linkat", "mknod", "mknodat"}

const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// otherSockets matches sockets that are neither local nor IP. No network namespace
// confines vsock, and the other families are little more than ways into the kernel.
var otherSockets = seccomp.NameWithConditions{Name: "socket", Conditions: seccomp.ArgumentConditions{
	{Argument: 0, Operation: seccomp.NotEqual, Value: unix.AF_UNIX},
	{Argument: 0, Operation: seccomp.NotEqual, Value: unix.AF_INET},
	{Argument: 0, Operation: seccomp.NotEqual, Value: unix.AF_INET6},
}}

// notIP matches sockets that are not IP. A jail with the host's network has its abstract local
// sockets too, and Landlock keeps them from it only since Linux 6.12.
var notIP = seccomp.NameWithConditions{Name: "socket", Conditions: otherSockets.Conditions[1:]}

// otherPairs matches socket pairs of any family but the local one. Only local pairs are
// of use, and socketpair reaches the same code in the kernel as socket.
var otherPairs = seccomp.NameWithConditions{Name: "socketpair", Conditions: seccomp.ArgumentConditions{
	{Argument: 0, Operation: seccomp.NotEqual, Value: unix.AF_UNIX},
}}

// deniedCommands are the ioctl commands that put input into a terminal as if it were
// typed there. A jail has no person's terminal, so it loses nothing by that.
var deniedCommands = []uint32{unix.TIOCSTI, unix.TIOCLINUX}

func fail(errno unix.Errno) seccomp.Action {
	return seccomp.Action(unix.SECCOMP_RET_ERRNO | uint32(errno))
}

// filter returns the program that the kernel runs on every system call. It lets nobody
// make a process: the programs of all profiles need only threads.
//
// clone3 takes its flags in memory, and a filter can't see them there. ENOSYS makes the
// C libraries use clone instead.
//
// With noGroups, setgroups seems to succeed. An ordinary user can't drop groups in a
// user namespace, and some programs end if that fails. Such a program keeps the groups
// that it was started with. Files in the jail hardly ever give rights to them.
//
// With serves, opening a file for writing fails with EROFS. It would fail anyway. But the
// kernel checks the file's mode before it checks for a read-only mount, so without
// capabilities a guest's root would get EACCES, as if another mode could help.
//
// With writes, no file gets the set-user-id bit, and none is made with the set-group-id bit:
// both fail with EPERM. Such a file would outlive the sandbox, and run on the host with the
// rights of its owner.
//
// With plain, no link and nothing special is made: a link would lead those astray who use
// the program's files by their names.
//
// With onlyIP, no local socket is made.
func filter(p profile) ([]bpf.Instruction, error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	if p.sockets {
		return networkFilter(info), nil
	}
	flags := func(call string, op seccomp.Operation, value uint64) seccomp.NameWithConditions {
		return seccomp.NameWithConditions{Name: call, Conditions: seccomp.ArgumentConditions{{Operation: op, Value: value}}}
	}
	denied := append([]string{"fork", "vfork"}, deniedCalls...)
	if p.plain {
		denied = append(denied, notPlain...)
	}
	sockets := []seccomp.NameWithConditions{otherSockets, otherPairs}
	if p.onlyIP {
		denied, sockets = append(denied, "socketpair"), []seccomp.NameWithConditions{notIP}
	}
	policy := seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls: []seccomp.SyscallGroup{
			{
				Action: fail(unix.EPERM),
				Names:  known(info, denied),
				NamesWithCondtions: append([]seccomp.NameWithConditions{
					flags("clone", seccomp.BitsSet, newNamespaces),
					flags("clone", seccomp.BitsNotSet, unix.CLONE_THREAD),
					flags("unshare", seccomp.BitsSet, newNamespaces|unix.CLONE_NEWTIME),
				}, sockets...),
			},
			{Action: fail(unix.ENOSYS), Names: []string{"clone3"}},
		},
	}
	program, err := policy.Assemble()
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	return append(preamble(info, p), program...), nil
}

// preamble is the part of the filter that the seccomp library can't make:
//
//   - The library lets calls by another ABI pass. With int 0x80 on x86-64 the same
//     numbers mean other calls, so the preamble refuses another ABI first.
//   - The library can't skip a call and report success.
//   - After a condition on an argument that does not hold, the library's code compares
//     that argument, and not the call's number, with the numbers that follow. So it can
//     take no condition on an argument that may equal one of these numbers.
func preamble(info *arch.Info, p profile) []bpf.Instruction {
	const archOffset = 4 // in struct seccomp_data
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: archOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(info.ID), SkipTrue: 1},
		bpf.RetConstant{Val: uint32(fail(unix.EPERM))},
	}
	for _, command := range deniedCommands {
		code = append(code, refuseCommand(command)...)
	}
	if p.noGroups {
		code = append(code,
			loadNumber,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_SETGROUPS, SkipTrue: 1},
			bpf.RetConstant{Val: uint32(fail(0))})
	}
	if p.serves {
		for name, flags := range map[string]uint32{"open": 1, "openat": 2} {
			if number, ok := info.SyscallNames[name]; ok {
				code = append(code, refuseWriting(uint32(number), flags)...)
			}
		}
	}
	if p.writes {
		for _, c := range modeCalls {
			if number, ok := c.number(info); ok {
				code = append(code, c.refuse(number)...)
			}
		}
		// This one has the mode in memory, where a filter can't see it. ENOSYS makes a
		// server use openat instead.
		code = append(code, loadNumber,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_OPENAT2, SkipTrue: 1},
			bpf.RetConstant{Val: uint32(fail(unix.ENOSYS))})
	}
	return code
}

// modeCall is a system call that gives a file a mode: its argument mode. Bits in denied are
// refused.
type modeCall struct {
	name   string
	mode   uint32
	denied uint32
	flags  uint32 // if it opens files: the argument that says whether it makes one
}

// A directory may get the set-group-id bit: its files inherit the group then. chmod can't
// tell directories from files here. Without CAP_FSETID the kernel drops that bit for files of
// groups that the program does not have.
var modeCalls = []modeCall{
	{name: "chmod", mode: 1, denied: unix.S_ISUID}, {name: "fchmod", mode: 1, denied: unix.S_ISUID},
	{name: "fchmodat", mode: 2, denied: unix.S_ISUID}, {name: "fchmodat2", mode: 2, denied: unix.S_ISUID},
	{name: "mknod", mode: 1, denied: unix.S_ISUID | unix.S_ISGID}, {name: "mknodat", mode: 2, denied: unix.S_ISUID | unix.S_ISGID},
	{name: "creat", mode: 1, denied: unix.S_ISUID | unix.S_ISGID},
	{name: "open", mode: 2, flags: 1, denied: unix.S_ISUID | unix.S_ISGID},
	{name: "openat", mode: 3, flags: 2, denied: unix.S_ISUID | unix.S_ISGID},
}

// number returns the call's number on this architecture, if it has that call.
func (c modeCall) number(info *arch.Info) (uint32, bool) {
	if c.name == "fchmodat2" {
		return unix.SYS_FCHMODAT2, true // younger than the library's table
	}
	number, ok := info.SyscallNames[c.name]
	return uint32(number), ok
}

// refuse answers EPERM to the call if its mode has denied bits. An open that makes no file
// has no mode.
func (c modeCall) refuse(number uint32) []bpf.Instruction {
	check := []bpf.Instruction{
		bpf.LoadAbsolute{Off: argsOffset + 8*c.mode, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: c.denied, SkipTrue: 1},
		bpf.RetConstant{Val: uint32(fail(unix.EPERM))},
	}
	if c.flags > 0 {
		const makes = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY
		check = append([]bpf.Instruction{
			bpf.LoadAbsolute{Off: argsOffset + 8*c.flags, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: makes, SkipTrue: uint8(len(check))},
		}, check...)
	}
	return append([]bpf.Instruction{
		loadNumber,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number, SkipTrue: uint8(len(check))},
	}, check...)
}

// refuseCommand answers EPERM to one command of ioctl, which is its argument 1. The
// kernel looks only at the lower half of it, and the library can't compare that alone.
func refuseCommand(command uint32) []bpf.Instruction {
	return []bpf.Instruction{
		loadNumber,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_IOCTL, SkipTrue: 3},
		bpf.LoadAbsolute{Off: argsOffset + 8, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: command, SkipTrue: 1},
		bpf.RetConstant{Val: uint32(fail(unix.EPERM))},
	}
}

const argsOffset = 16 // in struct seccomp_data

var loadNumber = bpf.LoadAbsolute{Off: 0, Size: 4}

// refuseWriting answers EROFS to a call that opens a file for writing, by the flags in
// its argument n. It reads their lower half, which comes first: amd64 and arm64 are both
// little-endian.
func refuseWriting(number, n uint32) []bpf.Instruction {
	return []bpf.Instruction{
		loadNumber,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number, SkipTrue: 3},
		bpf.LoadAbsolute{Off: argsOffset + 8*n, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: unix.O_WRONLY | unix.O_RDWR, SkipTrue: 1},
		bpf.RetConstant{Val: uint32(fail(unix.EROFS))},
	}
}

// known drops the names that this architecture has no call for.
func known(info *arch.Info, names []string) []string {
	var has []string
	for _, name := range names {
		if _, ok := info.SyscallNames[name]; ok {
			has = append(has, name)
		}
	}
	return has
}

// filterCalls installs the filter for this thread. A kernel without seccomp goes into
// the report; any other failure is an error.
func filterCalls(cfg Config, r *Report) error {
	program, err := filter(profiles[cfg.Profile])
	if err != nil {
		return err
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	code := make([]unix.SockFilter, len(raw))
	for i, op := range raw {
		code[i] = unix.SockFilter{Code: op.Op, Jt: op.Jt, Jf: op.Jf, K: op.K}
	}
	r.NewProcesses = true
	fprog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(code)
	switch errno {
	case 0:
		r.Seccomp, r.NewProcesses = true, false
		return nil
	case unix.ENOSYS, unix.EINVAL:
		r.miss("seccomp", fmt.Errorf("the kernel has no seccomp filters: %w", errno))
		return nil
	}
	return fmt.Errorf("seccomp: %w", errno)
}
