package mirror

import (
	"io/fs"
	"log"
	"os"
	"slices"

	"openshell-vm/share/layout"
)

// prune removes what the share does not keep any more: superseded generations, and files of those
// whose announcement is gone. now is current.
func (m *Mirror) prune(now uint64) {
	if len(m.kept) < 2 {
		return
	}
	there := names(m.share, ".")
	if there == nil {
		return // the next look tells why
	}
	for _, n := range slices.Clone(m.kept) {
		switch {
		case n == now:
		case !slices.Contains(there, layout.Generation(n)):
			m.drop(n)
		case !slices.Contains(there, layout.Announcement(n)):
			m.thin(n)
		}
	}
}

// drop removes a generation. Its announcement goes first: readers rely on that.
func (m *Mirror) drop(n uint64) {
	m.retire(n)
	if err := m.copy.RemoveAll(layout.Generation(n)); err != nil {
		log.Printf("mirror: %v", err)
	}
	m.kept = slices.DeleteFunc(m.kept, func(k uint64) bool { return k == n })
}

func (m *Mirror) retire(n uint64) {
	if err := m.copy.Remove(layout.Announcement(n)); err != nil && !os.IsNotExist(err) {
		log.Printf("mirror: %v", err)
	}
}

// thin removes the files of a generation that the share has withdrawn. Directories are listed anew,
// while a name that was looked up may be cached.
func (m *Mirror) thin(n uint64) {
	left := map[string]bool{}
	from, err := m.share.OpenRoot(layout.Generation(n))
	if err != nil {
		return // it is gone by now, which the next look finds
	}
	defer from.Close()
	err = fs.WalkDir(from.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		left[name] = true
		return err
	})
	if err != nil {
		return
	}
	to, err := m.copy.OpenRoot(layout.Generation(n))
	if err != nil {
		return
	}
	defer to.Close()
	var withdrawn []string
	_ = fs.WalkDir(to.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if !left[name] {
			withdrawn = append(withdrawn, name)
		}
		return err
	})
	if len(withdrawn) > 0 {
		m.retire(n)
	}
	for _, name := range withdrawn {
		if err := to.RemoveAll(name); err != nil {
			log.Printf("mirror: %v", err)
		}
	}
}
