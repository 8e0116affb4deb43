package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
)

// Whoever deletes the state directory wants none of it any more: keys, records and
// shares are gone, and what still runs can be given no token. So nothing makes it
// anew, and no process stays for it. A file system that is not mounted for the
// moment is another thing: it comes back with all that was there.

// ErrDeleted ends a gateway whose state directory was deleted.
var ErrDeleted = errors.New("the state directory was deleted")

// deleted says whether everything is gone that the gateway could need. As long as
// a single share is left, perhaps in the runtime directory, it is renewed.
func (g *Gateway) deleted() error {
	var lock unix.Stat_t
	if err := unix.Fstat(int(g.home.lock.Fd()), &lock); err != nil || lock.Nlink > 0 {
		return nil
	}
	for _, name := range []string{lockFile, api.IdentityFile, keysDir, sandboxesDir} {
		if _, err := os.Lstat(filepath.Join(g.home.State, name)); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	for _, s := range g.all() {
		if _, err := os.Lstat(s.share.AuthDir()); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ErrDeleted, g.home.State)
}

// landmark is where the state directory lay when a supervisor began.
type landmark struct {
	path string
	at   inode
}

// whereabouts of a state directory.
type whereabouts int

const (
	there   whereabouts = iota // or never seen
	away                       // its file system is not mounted where it was
	deleted                    // or replaced by an empty directory
)

// newLandmark makes the state directory if there is none yet. One that can't be
// made, or is refused, is left to the gateway, which says so.
func newLandmark() landmark {
	path, err := api.StateDir()
	if err != nil || privateDir(path) != nil {
		return landmark{}
	}
	at, _ := inodeOf(path)
	return landmark{path, at}
}

// find looks what has become of it.
func (l landmark) find() whereabouts {
	if l.at == (inode{}) {
		return there
	}
	_, err := os.Lstat(filepath.Join(l.path, api.IdentityFile))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return there
	}
	dir, now := l.path, inode{}
	for now, err = inodeOf(dir); errors.Is(err, fs.ErrNotExist) && dir != "/"; now, err = inodeOf(dir) {
		dir = filepath.Dir(dir)
	}
	switch {
	case err != nil || now == l.at: // no gateway has come so far as to make anything in it
		return there
	case now.Device != l.at.Device:
		return away
	}
	return deleted
}
