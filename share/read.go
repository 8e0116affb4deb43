package share

import (
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

// Snapshot is one generation's content.
type Snapshot struct {
	Generation uint64
	Files      map[string][]byte // by name, with slashes for those in directories
}

// readTries bounds how many races a reader may lose against a writer that publishes and
// prunes all the time. Even one is rare.
const readTries = 100

// Read returns all files of the current generation in a share's auth directory, on the
// host or inside a sandbox. It needs no lock and writes nothing.
// Before the first publish the error is [ErrUnpublished].
func Read(authDir string) (Snapshot, error) {
	auth, err := openDir(authDir)
	if err != nil {
		return Snapshot{}, err
	}
	defer auth.close()
	for range readTries {
		var s Snapshot
		if s, err = auth.snapshot(); !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
		time.Sleep(time.Millisecond) // the generation was pruned while we read it
	}
	return Snapshot{}, err
}

// Current returns the number of the current generation without reading the files; 0 if
// there is none. It needs no lock.
func (s *Share) Current() (uint64, error) {
	auth, err := openDir(s.AuthDir())
	if err != nil {
		return 0, err
	}
	defer auth.close()
	n, err := auth.current()
	if errors.Is(err, ErrUnpublished) {
		return 0, nil
	}
	return n, err
}

// current returns the generation that ..data links to.
func (d dir) current() (uint64, error) {
	target, err := d.readlink(layout.Data)
	if isNotExist(err) {
		return 0, &Error{Op: "read", Path: d.path, Err: ErrUnpublished}
	}
	if err != nil {
		return 0, err
	}
	n, ok := layout.ParseGeneration(target)
	if !ok {
		return 0, &Error{Op: "read", Path: d.path + "/" + layout.Data, Err: unix.EINVAL}
	}
	return n, nil
}

// snapshot reads the current generation. The error is fs.ErrNotExist if it was
// pruned meanwhile.
func (d dir) snapshot() (Snapshot, error) {
	n, err := d.current()
	if err != nil {
		return Snapshot{}, err
	}
	files, err := d.generation(n)
	if err != nil {
		return Snapshot{}, err
	}
	return Snapshot{Generation: n, Files: files}, d.stillComplete(n)
}

// generation reads the files of generation n.
func (d dir) generation(n uint64) (map[string][]byte, error) {
	gen, err := d.openDir(layout.Generation(n))
	if err != nil {
		return nil, err
	}
	defer gen.close()
	names, _, err := gen.tree()
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(names))
	for _, name := range names {
		if files[name], _, err = gen.readIn(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// stillComplete returns nil if pruning of generation n has not begun: n is current, or
// its announcement, which is removed first, is there. Otherwise the list of its names
// may have been cut short without an error.
func (d dir) stillComplete(n uint64) error {
	if _, err := d.lstat(layout.Announcement(n)); err == nil {
		return nil
	}
	if now, err := d.current(); err == nil && now == n {
		return nil
	}
	return &Error{Op: "read", Path: d.path, Err: fs.ErrNotExist}
}
