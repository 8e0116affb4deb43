package sources

import (
	"fmt"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/vocab"
)

// mayGive returns an error if this process can't give a file to the owner. The kernel says it of a
// file in memory: it depends on capabilities, groups and a user namespace.
func mayGive(o *vocab.Owner) error {
	if o == nil {
		return nil
	}
	fd, err := unix.MemfdCreate("owner", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, int(o.UID), int(o.GID)); err != nil {
		return fmt.Errorf("the gateway can't give a file to %d:%d: %w", o.UID, o.GID, err)
	}
	return nil
}
