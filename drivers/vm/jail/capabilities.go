package jail

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// dropCapabilities keeps only cfg's capabilities. It keeps them in every set, so that
// they survive the exec and no other can come back.
func dropCapabilities(cfg Config, r *Report) error {
	keep, err := cfg.caps()
	if err != nil {
		return err
	}
	last, err := lastCapability()
	if err != nil {
		return err
	}
	for bit := range last + 1 {
		if keep&(1<<bit) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(bit), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", bit, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear the ambient capabilities: %w", err)
	}
	low, high := uint32(keep), uint32(keep>>32)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	sets := [2]unix.CapUserData{
		{Effective: low, Permitted: low, Inheritable: low},
		{Effective: high, Permitted: high, Inheritable: high},
	}
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("keep capabilities %#x only: %w", keep, err)
	}
	r.Capabilities = capabilityNames(keep)
	return nil
}

// dropGroups drops root's supplementary groups. It is not called for an ordinary user:
// such a user can't change them in a user namespace, and may need one for /dev/kvm.
func dropGroups() error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("drop groups: %w", errno)
	}
	return nil
}

// lastCapability asks this kernel for its last capability. The kernel may have more of
// them than we know.
func lastCapability() (int, error) {
	for bit := range 64 {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(bit), 0, 0, 0); errors.Is(err, unix.EINVAL) {
			return bit - 1, nil
		} else if err != nil {
			return 0, fmt.Errorf("read the bounding set: %w", err)
		}
	}
	return 63, nil
}

// capabilityNames lists the names of set in the order of their bits.
func capabilityNames(set uint64) []string {
	names := []string{}
	for bit := range 64 {
		for name, b := range capabilities {
			if b == bit && set&(1<<bit) != 0 {
				names = append(names, name)
			}
		}
	}
	return names
}

var capabilities = map[string]int{
	"CAP_CHOWN":            unix.CAP_CHOWN,
	"CAP_DAC_OVERRIDE":     unix.CAP_DAC_OVERRIDE,
	"CAP_DAC_READ_SEARCH":  unix.CAP_DAC_READ_SEARCH,
	"CAP_FOWNER":           unix.CAP_FOWNER,
	"CAP_FSETID":           unix.CAP_FSETID,
	"CAP_KILL":             unix.CAP_KILL,
	"CAP_SETGID":           unix.CAP_SETGID,
	"CAP_SETUID":           unix.CAP_SETUID,
	"CAP_SETPCAP":          unix.CAP_SETPCAP,
	"CAP_NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE,
	"CAP_NET_ADMIN":        unix.CAP_NET_ADMIN,
	"CAP_SYS_CHROOT":       unix.CAP_SYS_CHROOT,
	"CAP_SYS_ADMIN":        unix.CAP_SYS_ADMIN,
	"CAP_SYS_NICE":         unix.CAP_SYS_NICE,
	"CAP_SYS_RESOURCE":     unix.CAP_SYS_RESOURCE,
	"CAP_MKNOD":            unix.CAP_MKNOD,
	"CAP_SETFCAP":          unix.CAP_SETFCAP,
}
