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
	"openshell-vm/internal/contract"
	"openshell-vm/internal/mounts"
)

// ownerEntries and ownerTime bound the search for foreign owners in a root. The rest of a
// larger tree is not checked.
const (
	ownerEntries = 300_000
	ownerTime    = 5 * time.Second
)

// Judge checks a directory that a guest will see. op says in words what it is for.
func Judge(op, dir string, hidden []string) (drivers.Tree, error) {
	tree, err := drivers.Judge(op, dir, hidden)
	if err == nil {
		err = checkReadable(op, dir)
	}
	return tree, err
}

// Mounts judges all that the user added.
func Mounts(spec drivers.Spec) ([]drivers.Tree, error) {
	for _, m := range spec.Mounts {
		if err := checkTarget(m.Source(), m.Target()); err != nil {
			return nil, err
		}
	}
	trees, err := drivers.JudgeMounts(spec)
	for _, tree := range trees {
		if err := checkReadable("mount "+tree.Source, tree.Source); err != nil {
			return nil, err
		}
	}
	return trees, err
}

// checkTarget refuses what the guest init would: it covers that directory.
func checkTarget(source, target string) error {
	if !mounts.Within(target, contract.OwnDir) {
		return nil
	}
	return drivers.MountElsewhere(source, target, "in a VM nothing but shares can be in "+contract.OwnDir)
}

// Writable judges all that the user added for the sandbox to write to.
func Writable(spec drivers.Spec) ([]drivers.Tree, error) {
	for _, w := range spec.Writable {
		if err := checkTarget(w.Source(), w.Target()); err != nil {
			return nil, err
		}
	}
	trees, err := drivers.JudgeWritable(spec)
	for _, tree := range trees {
		if err := checkReadable("mount "+tree.Source, tree.Source); err != nil {
			return nil, err
		}
	}
	return trees, err
}

// checkReadable refuses a directory that its server, who is the gateway's user, can't read.
func checkReadable(op, dir string) error {
	f, err := os.Open(dir)
	if err == nil {
		_, err = f.ReadDir(1)
		f.Close()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return &drivers.Error{Op: op, Err: err, Hint: "make it readable for the user who runs the gateway"}
	}
	return nil
}

// CheckRootfs refuses a directory that can't be a sandbox's root.
func (h *Host) CheckRootfs(ctx context.Context, dir string, hidden []string) error {
	const op = "use the root directory"
	if _, err := Judge(op, dir, hidden); err != nil {
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
