package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
)

// ErrDeleted is why a gateway ends whose state directory was deleted.
var ErrDeleted = errors.New("the state directory was deleted")

// Deleted reports whether the lock and all else that a gateway needs are gone. Shares may be
// left elsewhere.
func (h *Home) Deleted() bool {
	var lock unix.Stat_t
	if err := unix.Fstat(int(h.lock.Fd()), &lock); err != nil || lock.Nlink > 0 {
		return false
	}
	for _, name := range []string{LockFile, api.IdentityFile, keysDir, sandboxesDir} {
		if _, err := os.Lstat(filepath.Join(h.State, name)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}
