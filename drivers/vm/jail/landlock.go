package jail

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rights is a set of Landlock's file accesses.
type rights uint64

const (
	execute   rights = unix.LANDLOCK_ACCESS_FS_EXECUTE
	readFile  rights = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readDir   rights = readFile | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeFile rights = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	writeDir  rights = writeFile | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
	special rights = unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	device  rights = readFile | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// renames is the first version of Landlock that can allow to rename and link files from one
// directory to another.
const renames = 2

// handled returns the accesses that a version of Landlock can deny. A ruleset denies
// all of them, except where a rule allows one.
func handled(abi int) (fs rights, net, scoped uint64) {
	fs = 1<<13 - 1
	if abi >= renames {
		fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 5 {
		fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	return fs, net, scoped
}

// landlockABI returns the kernel's version of Landlock.
func landlockABI() (int, error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, fmt.Errorf("the kernel has no Landlock, or it is off: %w", errno)
	}
	return int(v), nil
}

// restrictPaths allows the thread the rights of each place there, and nothing elsewhere.
// It also forbids TCP; with the caller's network only to take a port.
func restrictPaths(cfg Config, places []clone, r *Report) error {
	abi, err := landlockABI()
	if err != nil {
		r.miss("landlock", err)
		return nil
	}
	if abi < renames && profiles[cfg.Profile].writes {
		r.miss("landlock", errors.New("this kernel's Landlock lets nobody rename a file into another directory; Linux 5.19 and later do"))
		return nil
	}
	fs, net, scoped := handled(abi)
	if cfg.Network {
		net &^= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: uint64(fs), Handled_access_net: net, Scoped: scoped}
	ruleset, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	defer unix.Close(int(ruleset))
	if profiles[cfg.Profile].plain {
		fs &^= special
	}
	for _, p := range places {
		if err := allow(int(ruleset), p.target, p.rights&fs); err != nil {
			return fmt.Errorf("allow %s by Landlock: %w", p.target, err)
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0, 0); errno != 0 {
		return fmt.Errorf("landlock_restrict_self: %w", errno)
	}
	r.LandlockABI = abi
	return nil
}

func allow(ruleset int, path string, access rights) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	rule := unix.LandlockPathBeneathAttr{Allowed_access: uint64(access), Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
