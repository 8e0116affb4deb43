package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/mounts"
)

// ownerEntries and ownerTime bound the search for foreign owners in a root. The rest of a
// larger tree is not checked.
const (
	ownerEntries = 300_000
	ownerTime    = 5 * time.Second
)

// checkDir refuses what can't be a root or the source of a mount: a path that is missing,
// not a directory, unreadable, or inside a hidden directory.
func checkDir(op, dir string, hidden []string) error {
	if err := drivers.CheckDir(op, dir); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err == nil {
		_, err = f.ReadDir(1)
		f.Close()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return &drivers.Error{Op: op, Err: err, Hint: "make it readable for the user who runs the gateway"}
	}
	_, err = drivers.Exposure(dir, hidden)
	return err
}

// CheckRootfs refuses a directory that can't be a sandbox's root.
func (h *Host) CheckRootfs(ctx context.Context, dir string, hidden []string) error {
	const op = "use the root directory"
	if err := checkDir(op, dir, hidden); err != nil {
		return err
	}
	if h.uid == 0 {
		return nil
	}
	foreign, err := foreignOwners(ctx, dir, uint32(h.uid))
	if err != nil {
		return &drivers.Error{Op: op, Err: err, Hint: "make it readable for the user who runs the gateway"}
	}
	if foreign > 0 {
		return &drivers.Error{
			Op:   op,
			Err:  fmt.Errorf("%d files in %s belong to other users, who do not exist in the VM of an ordinary user", foreign, dir),
			Hint: "make a copy that is all yours (sudo tar -C DIR --exclude='./dev/*' -c . | tar -xpC COPY), or run the gateway as root",
		}
	}
	return nil
}

// foreignOwners counts the files that do not belong to uid. It looks at a bounded number
// of files for a bounded time. It skips what the user can't read: that is unreadable in
// the VM, too.
func foreignOwners(ctx context.Context, root string, uid uint32) (foreign int, err error) {
	ctx, cancel := context.WithTimeout(ctx, ownerTime)
	defer cancel()
	seen := 0
	err = filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
		if seen++; seen > ownerEntries || ctx.Err() != nil {
			return fs.SkipAll
		}
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		} else if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != uid {
			foreign++
		}
		return nil
	})
	return foreign, err
}

// CheckMounts refuses sources that can't be shared, and targets that would hide the share
// or are used twice.
func CheckMounts(spec drivers.Spec) error {
	taken := map[string]bool{}
	for _, m := range spec.Mounts {
		if err := checkDir("mount "+m.Source(), m.Source(), spec.Hidden); err != nil {
			return err
		}
		target := m.Target()
		if taken[target] || mounts.Within(spec.Auth.Target(), target) || mounts.Within(target, spec.Auth.Target()) {
			return &drivers.Error{
				Op:   "mount " + m.Source(),
				Err:  fmt.Errorf("%s is taken by another mount or would hide the token", target),
				Hint: "mount it somewhere else",
			}
		}
		taken[target] = true
	}
	return nil
}

// Tree is a host directory to show to a guest, without what it must not see.
type Tree struct {
	Source string `json:"source"`
	// Is identifies the directory that was checked at Source; the zero Directory stands
	// for whatever is there.
	Is    drivers.Directory `json:"is,omitzero"`
	Masks []string          `json:"masks,omitempty"` // paths in it that an empty directory covers
}

// Judge checks a directory that a guest will see, and identifies it, so that the jail
// takes no other. op says in words what it is for.
func Judge(op, dir string, hidden []string) (Tree, error) {
	if err := checkDir(op, dir, hidden); err != nil {
		return Tree{}, err
	}
	is, masks, err := drivers.Judge(dir, hidden)
	return Tree{Source: dir, Is: is, Masks: masks}, err
}
