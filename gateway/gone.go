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
