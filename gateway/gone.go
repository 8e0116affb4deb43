package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"openshell-vm/gateway/state"
)

// Whoever deletes the state directory wants none of it any more: keys, records and
// shares are gone, and what still runs can be given no token. So nothing makes it
// anew, and no process stays for it. A file system that is not mounted for the
// moment is another thing: it comes back with all that was there.

// deleted says whether everything is gone that the gateway could need. As long as
// a single share is left, perhaps in the runtime directory, it is renewed.
func (g *Gateway) deleted() error {
	if !g.home.Deleted() {
		return nil
	}
	for _, s := range g.all() {
		if _, err := os.Lstat(s.share.AuthDir()); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", state.ErrDeleted, g.home.State)
}
