package sources

import (
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/vocab"
	"openshell-vm/share"
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

// shown is a source's files as its share is to have them. If they can't be given to their owner
// any more they are the gateway's, and the error says so.
func shown(spec vocab.Source, files Files) ([]share.File, error) {
	list := files.In(spec.Name)
	err := mayGive(spec.Owner)
	for i := range list {
		list[i].Mode, list[i].Later = fs.FileMode(spec.Mode), true
		if spec.Owner != nil && err == nil {
			list[i].Owner = &share.Owner{UID: int(spec.Owner.UID), GID: int(spec.Owner.GID)}
		}
	}
	return list, err
}
