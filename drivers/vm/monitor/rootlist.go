package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/rootlist"
)

// listRoot writes the list of the root's files for the guest init. If that fails, the
// init looks at the files itself, which takes longer.
func (m *monitor) listRoot(lister hypervisor.Lister) error {
	if err := m.unlistRoot(); err != nil { // a failed boot may have left one
		return err
	}
	file := filepath.Join(m.cfg.Boot, guest.RootListFile)
	told, longest := time.Now(), m.began.Add(m.cfg.LongestBoot())
	count, unread, err := rootlist.Create(file, m.cfg.Rootfs.Source, m.cfg.Rootfs.Masks, func(n uint64) error {
		switch now := time.Now(); {
		case len(m.stop) > 0:
			return errStopped
		case now.After(longest):
			return m.tooLong()
		case now.Sub(told) > time.Second:
			told = now
			m.update(func(r *api.Report) { r.Doing = fmt.Sprintf("listing its root, %d files so far", n) })
		}
		return nil
	})
	switch {
	case errors.Is(err, errStopped), errors.As(err, new(*refusal)):
		return err
	case err != nil:
		m.log.Warn("the guest has to look at the files of its root itself, which takes long", "error", err)
		return nil
	case unread.Count > 0:
		m.log.Warn("files and directories of the root can't be read, and are missing or empty in the guest",
			"count", unread.Count, "one", unread.First)
	}
	if err := lister.RoomFor(m.cfg.Machine, count); err != nil {
		return &refusal{err}
	}
	return nil
}

// unlistRoot removes the list. A guest that has booted does not need it.
func (m *monitor) unlistRoot() error {
	err := os.Remove(filepath.Join(m.cfg.Boot, guest.RootListFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
