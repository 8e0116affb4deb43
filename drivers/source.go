package drivers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckDir refuses what can't be a source of a mount, or a root: what is missing, can't
// be looked at or is no directory. Whether it may be shown to a sandbox is Exposure's to
// say. op is what it was to be used for.
func CheckDir(op, dir string) error {
	if !filepath.IsAbs(dir) {
		return &Error{Op: op, Err: fmt.Errorf("%q is not an absolute path", dir), Hint: "give the whole path of a directory on this host"}
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Op: op, Err: fmt.Errorf("%s does not exist", dir), Hint: "make it, or give a directory that exists"}
	case err != nil:
		return &Error{Op: op, Err: err, Hint: "give a directory that you may read"}
	case !info.IsDir():
		return &Error{Op: op, Err: fmt.Errorf("%s is a file, not a directory", dir),
			Hint: "give the directory that holds it, for a single file would go stale when it is replaced; unpack an archive"}
	}
	return nil
}
