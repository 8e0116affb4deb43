package drivers

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"openshell-vm/internal/contract"
	"openshell-vm/internal/inode"
)

// Directory identifies a directory of this host by device and inode. It does not depend on
// the path, which may lead to another directory later.
type Directory = inode.ID

// Tree is a directory of this host that a sandbox is to see, and what is masked in it.
type Tree struct {
	Source string `json:"source"`
	// Is identifies the directory that was checked at Source. The mount resolves Source
	// once more, and somebody may have replaced the directory in between. So the driver
	// has to compare what was mounted with Is. The zero Directory allows any.
	Is    Directory `json:"is,omitzero"`
	Masks []string  `json:"masks,omitempty"` // see Exposure
}

// Judge checks a directory that a sandbox is to see, with CheckDir and Exposure. op is what
// the directory is used for, for the error.
func Judge(op, dir string, hidden []string, sockets ...string) (Tree, error) {
	if err := CheckDir(op, dir); err != nil {
		return Tree{}, err
	}
	is, masks, err := exposure(dir, hidden, sockets)
	return Tree{Source: dir, Is: is, Masks: masks}, err
}

// JudgeMounts checks the sources of spec.Mounts with Judge, in order. It also refuses
// targets that are used twice, that would hide the share, or that lie in it.
func JudgeMounts(spec Spec, sockets ...string) (trees []Tree, err error) {
	if err := checkTargets(spec); err != nil {
		return nil, err
	}
	for _, m := range spec.Mounts {
		tree, err := judgeMount(m, spec.Hidden, sockets)
		if err != nil {
			return nil, err
		}
		trees = append(trees, tree)
	}
	return trees, nil
}

func judgeMount(m Mount, hidden, sockets []string) (Tree, error) {
	if m.Volume() != "" {
		return judgeVolume(m.Source(), m.Volume())
	}
	return Judge("mount "+m.Source(), m.Source(), hidden, sockets...)
}

// checkTargets looks at the targets of all that the user added.
func checkTargets(spec Spec) error {
	if err := checkShares(spec); err != nil {
		return err
	}
	taken := map[string]bool{}
	check := func(source, target string) error {
		if taken[target] || overlap(target, spec.Auth.Target()) {
			return &Error{Op: "mount " + source, Err: fmt.Errorf("%s is taken by another mount, or would hide the token", target),
				Hint: elsewhere}
		}
		if isFile(target) {
			return MountElsewhere(source, target, "a sandbox has a file there")
		}
		if spec.VM.Inotify && overlap(target, contract.MirrorDir) {
			return MountElsewhere(source, target, "with --inotify the share's mirror is at "+contract.MirrorDir)
		}
		for _, s := range spec.Shares {
			if overlap(target, s.Mount.Target()) {
				return MountElsewhere(source, target, "the share "+s.Name+" is shown at "+s.Mount.Target())
			}
		}
		taken[target] = true
		return nil
	}
	for _, m := range spec.Mounts {
		if err := check(cmp.Or(m.Volume(), m.Source()), m.Target()); err != nil {
			return err
		}
	}
	for _, w := range spec.Writable {
		if err := check(cmp.Or(w.Volume(), w.Source()), w.Target()); err != nil {
			return err
		}
	}
	return nil
}

// CheckDir refuses what can't be the source of a mount or a root: a relative path, what does
// not exist or can't be accessed, and what is not a directory. Whether a sandbox may see the
// directory is for Exposure. op is what the directory is used for, for the error.
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
