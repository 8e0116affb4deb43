package drivers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"openshell-vm/internal/inode"
	"openshell-vm/internal/mounts"
)

// Directory is one directory of this host, whatever has come to its path since.
type Directory = inode.ID

// Tree is a directory of this host that a sandbox is to see, without what it must not
// see.
type Tree struct {
	Source string `json:"source"`
	// Is identifies the directory that was checked at Source; the zero Directory stands
	// for whatever is there. Who mounts Source resolves its path anew, and somebody else
	// may have changed it in between: what was mounted is to be compared.
	Is    Directory `json:"is,omitzero"`
	Masks []string  `json:"masks,omitempty"` // see Exposure
}

// Judge checks a directory that a sandbox is to see: CheckDir, and Exposure.
func Judge(op, dir string, hidden []string, sockets ...string) (Tree, error) {
	if err := CheckDir(op, dir); err != nil {
		return Tree{}, err
	}
	is, masks, err := exposure(dir, hidden, sockets)
	return Tree{Source: dir, Is: is, Masks: masks}, err
}

// JudgeMounts judges the sources of all that the user added, in its order. It refuses
// targets that are used twice, and those that would hide the share or lie in it.
func JudgeMounts(spec Spec, sockets ...string) (trees []Tree, err error) {
	taken, auth := map[string]bool{}, spec.Auth.Target()
	for _, m := range spec.Mounts {
		op, target := "mount "+m.Source(), m.Target()
		if taken[target] || mounts.Within(auth, target) || mounts.Within(target, auth) {
			return nil, &Error{Op: op, Err: fmt.Errorf("%s is taken by another mount, or would hide the token", target), Hint: "mount it somewhere else"}
		}
		taken[target] = true
		tree, err := Judge(op, m.Source(), spec.Hidden, sockets...)
		if err != nil {
			return nil, err
		}
		trees = append(trees, tree)
	}
	return trees, nil
}

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
